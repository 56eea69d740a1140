//! The rules of `train.chunk_ctx`.

use super::Faults;
use crate::arch::SAVED_EVERY;
use crate::config::Config;
use crate::diagnostic::{Diagnostic, msg};

const CHUNK_CTX: &str = "train.chunk_ctx";

/// Refuses a length that the kernels do not divide, and warns about one that cuts no sample.
pub(super) fn check(faults: &mut Faults<'_>) {
    let Config { train, .. } = faults.config();
    let (chunk_ctx, ctx_len) = (train.chunk_ctx, train.ctx_len);
    let step = SAVED_EVERY as u32;
    if !chunk_ctx.is_multiple_of(step) {
        let near = (chunk_ctx / step * step).max(step);
        let fault = Diagnostic::error(msg!(CHUNK_CTX_NOT_MULTIPLE, chunk_ctx, step))
            .help(msg!(SET_CHUNK_CTX, near));
        faults.add(CHUNK_CTX, fault);
    } else if chunk_ctx >= ctx_len && chunk_ctx > 0 {
        let warning = Diagnostic::warning(msg!(CHUNK_CTX_CUTS_NOTHING, ctx_len));
        faults.add_silenceable(CHUNK_CTX, warning);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Overrides, parse};
    use crate::plan::tests::faults_of;

    fn found(ctx_len: u32, chunk_ctx: u32) -> Vec<String> {
        let text = format!(
            "name = \"long\"\ndata = {{ data_file = \"x.jsonl\" }}\npeft = {{ type = \"state\" }}\n\
             schedule = {{ lr_init = 1.0, lr_final = 0.01 }}\n[train]\nctx_len = {ctx_len}\n\
             chunk_ctx = {chunk_ctx}\n"
        );
        let loaded = parse("long.toml".as_ref(), text, &Overrides::default()).expect("valid");
        faults_of(&loaded, super::check)
    }

    #[test]
    fn a_chunk_is_a_multiple_of_16_below_ctx_len() {
        assert!(found(4096, 0).is_empty() && found(4096, 1024).is_empty());
        let expected = "\
error[ST2135]: `chunk_ctx = 1000` is not a multiple of 16
 --> long.toml:7:13
  |
7 | chunk_ctx = 1000
  |             ^^^^
  |
  = help: set `chunk_ctx = 992`";
        assert_eq!(found(4096, 1000), [expected]);
        assert!(found(4096, 7)[0].ends_with("set `chunk_ctx = 16`"));
        let expected = "\
warning[ST2305]: `chunk_ctx` has no effect, because no sample is longer than `ctx_len = 512`
 --> long.toml:7:13
  |
7 | chunk_ctx = 512
  |             ^^^
  |
  = help: silence with `# statetune: allow(ST2305)` on the line above";
        assert_eq!(found(512, 512), [expected]);
    }
}
