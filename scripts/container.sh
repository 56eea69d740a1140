#!/bin/sh
# Builds the image of the Containerfile and runs the sample experiment in it, with the first of podman, buildah and docker that works
# here. Without one it says so and succeeds.
set -eu
cd "$(dirname "$0")/.."

image=statetune-test
# A client of docker without its server is no builder.
works() { command -v "$1" >/dev/null && "$1" info >/dev/null 2>&1; }
for builder in podman buildah docker ''; do
    [ -n "$builder" ] || { echo "no container is built: install podman, buildah or docker" >&2; exit 0; }
    ! works "$builder" || break
done

echo "building the image with $builder" >&2
smoke="statetune run configs/emoji-state.toml -p smoke --runs-dir /tmp/runs"
case $builder in
    buildah)
        buildah bud --tag "$image" --file Containerfile .
        container=$(buildah from "$image")
        trap 'buildah rm "$container" >/dev/null' EXIT
        buildah run --volume "$PWD:/work:ro" "$container" -- $smoke
        ;;
    *)
        "$builder" build --tag "$image" --file Containerfile .
        "$builder" run --rm --volume "$PWD:/work:ro" "$image" ${smoke#statetune }
        ;;
esac
echo "the container runs the sample experiment" >&2
