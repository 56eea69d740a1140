// A GPU that computes nothing: CUDA's runtime, driver and compiler as far as libtorch and statetune call them, in one
// library. Memory of the device is memory of the host, kernels are counted and not run, and what a kernel would have
// written is whatever lay there; a few bytes that come back are zeros. libtorch's dispatcher, autograd and caching
// allocator are the real ones, so launches, copies, waits, reserved memory, the order of calls and the ways of failing are
// too. Numbers that come out mean nothing.
//
// Environment:
//   NULL_GPU_REPORT=FILE      writes the counts there as JSON when the process ends; a process that used a device other than the
//                             first writes to FILE.N, where N is the last device that it used
//   NULL_GPU_MEMORY=BYTES     memory of the device
//   NULL_GPU_ALLOCATIONS=N    every allocation after the first N fails, as on a full device
//   NULL_GPU_FAULT=CODE,N     after N launches, everything that can report a late error reports CODE, for good
//   NULL_GPU_DRIVER=VERSION   CUDA version of the driver, such as 12080
//   NULL_GPU_COUNT=N          number of devices, 8 at most
//   NULL_GPU_ONLY=N           memory, allocations and faults concern this device alone
//   NULL_GPU_OTHER=NAME       name of all devices but the first
//   NULL_GPU_SKIP_UPLOADS=1   large uploads are counted and not made, so that the pages of a large model stay untouched
#define _GNU_SOURCE
#include <dlfcn.h>
#include <driver_types.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef int Status;
enum {
    OUT_OF_MEMORY = 2, OLD_DRIVER = 35, NO_DEVICE = 100, INVALID_DEVICE = 101, INVALID_IMAGE = 200, INVALID_HANDLE = 400
};
enum { MOST_DEVICES = 8 };

static struct {
    long kernels, products, own, uploads, downloads, moves, fills, waits, allocations, host_allocations;
    long long reserved, peak_reserved;
} count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define ADD(what) __atomic_add_fetch(&count.what, 1, __ATOMIC_RELAXED)

static long setting(const char *name, long otherwise) {
    const char *value = getenv(name);
    return value ? atol(value) : otherwise;
}

// The current device of a thread, and those that the process used: on each of them it takes the memory of a context.
static __thread int current;
static int used_devices;

static void use(int device) { __atomic_fetch_or(&used_devices, 1 << device, __ATOMIC_RELAXED); }

// Whether NULL_GPU_ONLY leaves the current device as it is.
static int is_spared(void) { return setting("NULL_GPU_ONLY", current) != current; }

static long memory_of_device(void) { return is_spared() ? 80l << 30 : setting("NULL_GPU_MEMORY", 80l << 30); }

static long launches(void) { return count.kernels + count.products + count.own; }

// The late error that NULL_GPU_FAULT asks for, once its launches are made.
static Status fault(void) {
    static int code = -1;
    static long after;
    if (code < 0) {
        const char *value = getenv("NULL_GPU_FAULT");
        const char *comma = value ? strchr(value, ',') : NULL;
        after = comma ? atol(comma + 1) : 0;
        code = value ? atoi(value) : 0;
    }
    return code && launches() >= after && !is_spared() ? code : 0;
}

// Names of kernels: each is registered under the address of its host stub.
enum { SLOTS = 1 << 18 };
static struct Kernel {
    const void *stub;
    const char *name;
    long launches;
} kernels[SLOTS];

static struct Kernel *kernel(const void *stub) {
    size_t slot = ((uintptr_t)stub >> 4) * 0x9E3779B97F4A7C15ull >> 46;
    while (kernels[slot].stub && kernels[slot].stub != stub) slot = (slot + 1) % SLOTS;
    kernels[slot].stub = stub;
    return &kernels[slot];
}

static Status launch(const void *stub) {
    use(current);
    pthread_mutex_lock(&lock);
    count.kernels++;
    kernel(stub)->launches++;
    pthread_mutex_unlock(&lock);
    return fault();
}

// A matrix product of one of the libraries; 13 is their code for a launch that failed.
Status null_gpu_product(void) {
    use(current);
    ADD(products);
    return fault() ? 13 : 0;
}

__attribute__((destructor)) static void report(void) {
    const char *path = getenv("NULL_GPU_REPORT");
    if (!path) return;
    int last = MOST_DEVICES - 1;
    while (last && !(used_devices >> last & 1)) last--;
    char own[4096];
    snprintf(own, sizeof own, last ? "%s.%d" : "%s", path, last);
    FILE *file = fopen(own, "w");
    if (!file) return;
    fprintf(file, "{\"used_devices\": %d, ", used_devices);
    fprintf(file, "\"kernels\": %ld, \"products\": %ld, \"own\": %ld, \"uploads\": %ld, \"downloads\": %ld, ",
            count.kernels, count.products, count.own, count.uploads, count.downloads);
    fprintf(file, "\"moves\": %ld, \"fills\": %ld, \"waits\": %ld, \"allocations\": %ld, ", count.moves, count.fills,
            count.waits, count.allocations);
    fprintf(file, "\"host_allocations\": %ld, \"reserved\": %lld, \"names\": {", count.host_allocations,
            count.peak_reserved);
    const char *separator = "";
    for (int i = 0; i < SLOTS; i++) {
        if (!kernels[i].launches) continue;
        fprintf(file, "%s\n\"%.200s#%d\": %ld", separator, kernels[i].name ? kernels[i].name : "", i,
                kernels[i].launches);
        separator = ",";
    }
    fprintf(file, "}}\n");
    fclose(file);
}

// Devices.

static Status usable(void) {
    if (setting("NULL_GPU_DRIVER", 13000) < 13000) return OLD_DRIVER;
    return setting("NULL_GPU_COUNT", 1) ? 0 : NO_DEVICE;
}

static int devices_of_machine(void) {
    long count = setting("NULL_GPU_COUNT", 1);
    return count < MOST_DEVICES ? count : MOST_DEVICES;
}

Status cudaGetDeviceCount(int *devices) {
    *devices = usable() ? 0 : devices_of_machine();
    return usable();
}

Status cudaGetDevice(int *device) { return *device = current, usable(); }

Status cudaSetDevice(int device) {
    if (device < 0 || device >= devices_of_machine()) return INVALID_DEVICE;
    use(current = device);
    return usable();
}

static const char *name_of(int device) {
    const char *other = getenv("NULL_GPU_OTHER");
    return device && other ? other : "Null GPU";
}

Status cudaDriverGetVersion(int *version) { return *version = setting("NULL_GPU_DRIVER", 13000), 0; }
Status cudaRuntimeGetVersion(int *version) { return *version = 13000, 0; }
Status cudaDeviceGetStreamPriorityRange(int *least, int *greatest) { return *least = 0, *greatest = -5, 0; }
Status cudaDeviceCanAccessPeer(int *can, int a, int b) { return *can = 0, 0; }

// Attributes by CUDA's numbers; those of the driver and of the runtime are the same.
static Status attribute(int *value, int which) {
    switch (which) {
        case 1: *value = 1024; break;     // threads of a block
        case 8: *value = 49152; break;    // shared memory of a block
        case 10: *value = 32; break;      // threads of a warp
        case 16: *value = 132; break;     // multiprocessors
        case 39: *value = 2048; break;    // threads of a multiprocessor
        case 75: *value = 9; break;       // compute capability
        case 76: *value = 0; break;
        case 97: *value = 232448; break;  // shared memory of a block that asks for it
        default: *value = 1;
    }
    return 0;
}

Status cudaDeviceGetAttribute(int *value, int which, int device) { return attribute(value, which); }

Status cudaGetDeviceProperties(struct cudaDeviceProp *of, int device) {
    memset(of, 0, sizeof *of);
    strcpy(of->name, name_of(device));
    of->totalGlobalMem = memory_of_device();
    of->major = 9;
    of->multiProcessorCount = 132;
    of->warpSize = 32;
    of->maxThreadsPerBlock = of->maxThreadsDim[0] = of->maxThreadsDim[1] = 1024;
    of->maxThreadsDim[2] = 64;
    of->maxThreadsPerMultiProcessor = 2048;
    of->maxBlocksPerMultiProcessor = 32;
    of->maxGridSize[0] = INT32_MAX;
    of->maxGridSize[1] = of->maxGridSize[2] = 65535;
    of->regsPerBlock = of->regsPerMultiprocessor = 65536;
    of->sharedMemPerBlock = 49152;
    of->sharedMemPerBlockOptin = 232448;
    of->sharedMemPerMultiprocessor = 233472;
    of->l2CacheSize = 50 << 20;
    of->memoryBusWidth = 5120;
    of->textureAlignment = 512;
    of->unifiedAddressing = of->concurrentKernels = 1;
    of->asyncEngineCount = 3;
    return 0;
}

// Memory.

// A copy to the host of at most so many bytes is an answer that a kernel computed, such as a loss or a count: zero here, for
// what lay there would pass for any answer.
enum { ANSWER_BYTES = 64 };

static struct Block {
    char *start;
    size_t bytes;
    int on_device;
} blocks[1 << 16];
static int used_blocks;

static Status allocate(void **start, size_t bytes, int on_device) {
    use(current);
    long made = on_device ? ADD(allocations) : ADD(host_allocations);
    int is_full = on_device && (count.reserved + (long long)bytes > memory_of_device() ||
                                (!is_spared() && made > setting("NULL_GPU_ALLOCATIONS", INT64_MAX)));
    *start = NULL;
    if (is_full || used_blocks == 1 << 16) return OUT_OF_MEMORY;
    if (!bytes || fault()) return fault();
    // Pages that nobody touches cost nothing.
    void *pages = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (pages == MAP_FAILED) return OUT_OF_MEMORY;
    pthread_mutex_lock(&lock);
    blocks[used_blocks++] = (struct Block){pages, bytes, on_device};
    if (on_device) count.reserved += bytes;
    if (count.reserved > count.peak_reserved) count.peak_reserved = count.reserved;
    pthread_mutex_unlock(&lock);
    *start = pages;
    return 0;
}

static Status release(void *start) {
    pthread_mutex_lock(&lock);
    for (int i = 0; start && i < used_blocks; i++) {
        if (blocks[i].start != start) continue;
        munmap(start, blocks[i].bytes);
        if (blocks[i].on_device) count.reserved -= blocks[i].bytes;
        blocks[i] = blocks[--used_blocks];
        break;
    }
    pthread_mutex_unlock(&lock);
    return fault();
}

Status cudaMalloc(void **start, size_t bytes) { return allocate(start, bytes, 1); }
Status cudaMallocAsync(void **start, size_t bytes, void *stream) { return allocate(start, bytes, 1); }
Status cudaHostAlloc(void **start, size_t bytes, unsigned flags) { return allocate(start, bytes, 0); }
Status cudaFree(void *start) { return release(start); }
Status cudaFreeAsync(void *start, void *stream) { return release(start); }
Status cudaFreeHost(void *start) { return release(start); }

Status cudaMemGetInfo(size_t *unused, size_t *total) {
    *total = memory_of_device();
    *unused = *total - count.reserved;
    return fault();
}

Status cudaPointerGetAttributes(struct cudaPointerAttributes *of, const void *pointer) {
    memset(of, 0, sizeof *of);
    pthread_mutex_lock(&lock);
    for (int i = 0; i < used_blocks; i++) {
        size_t offset = (const char *)pointer - blocks[i].start;
        if ((const char *)pointer < blocks[i].start || offset >= blocks[i].bytes) continue;
        of->type = blocks[i].on_device ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
        of->devicePointer = of->hostPointer = (void *)pointer;
    }
    pthread_mutex_unlock(&lock);
    return fault();
}

static Status copy(void *to, const void *from, size_t bytes, int kind) {
    if (kind == cudaMemcpyHostToDevice) ADD(uploads);
    else if (kind == cudaMemcpyDeviceToHost) ADD(downloads);
    else ADD(moves);
    int is_skipped = kind == cudaMemcpyHostToDevice && bytes > 1 << 16 && getenv("NULL_GPU_SKIP_UPLOADS");
    if (kind == cudaMemcpyDeviceToHost && bytes <= ANSWER_BYTES) memset(to, 0, bytes);
    else if (!is_skipped) memmove(to, from, bytes);
    return fault();
}

Status cudaMemcpy(void *to, const void *from, size_t bytes, int kind) { return copy(to, from, bytes, kind); }

Status cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, void *stream) {
    return copy(to, from, bytes, kind);
}

Status cudaMemcpy2DAsync(char *to, size_t to_pitch, const char *from, size_t from_pitch, size_t width, size_t height,
                         int kind, void *stream) {
    for (size_t row = 0; row < height; row++) memmove(to + row * to_pitch, from + row * from_pitch, width);
    return copy(to, from, 0, kind);
}

static Status fill(void *start, int value, size_t bytes) {
    ADD(fills);
    memset(start, value, bytes);
    return fault();
}

Status cudaMemset(void *start, int value, size_t bytes) { return fill(start, value, bytes); }
Status cudaMemsetAsync(void *start, int value, size_t bytes, void *stream) { return fill(start, value, bytes); }

// Streams, events and waits.

enum { HANDLES = 1 << 16 };
static char handles[MOST_DEVICES][HANDLES];

static Status new_handle(void **handle) {
    static int used;
    *handle = &handles[current][__atomic_fetch_add(&used, 1, __ATOMIC_RELAXED) % HANDLES];
    return fault();
}

// Whether a stream is of another device than the current one, whose kernels cannot be started in it.
static int is_foreign(const void *stream) {
    long at = (const char *)stream - handles[0];
    return at >= 0 && at < (long)sizeof handles && at / HANDLES != current;
}

static Status wait(void) {
    ADD(waits);
    return fault();
}

Status cudaStreamCreate(void **stream) { return new_handle(stream); }
Status cudaStreamCreateWithPriority(void **stream, unsigned flags, int priority) { return new_handle(stream); }
Status cudaEventCreate(void **event) { return new_handle(event); }
Status cudaEventCreateWithFlags(void **event, unsigned flags) { return new_handle(event); }
Status cudaEventElapsedTime(float *ms, void *from, void *to) { return *ms = 1, fault(); }
Status cudaEventQuery(void *event) { return fault(); }
Status cudaStreamQuery(void *stream) { return fault(); }
Status cudaEventSynchronize(void *event) { return wait(); }
Status cudaStreamSynchronize(void *stream) { return wait(); }
Status cudaDeviceSynchronize(void) { return wait(); }
Status cudaStreamIsCapturing(void *stream, int *status) { return *status = 0, fault(); }

Status cudaStreamGetCaptureInfo(void *stream, int *status, unsigned long long *id) {
    *status = 0;
    if (id) *id = 0;
    return fault();
}

// Kernels of libtorch.

void **__cudaRegisterFatBinary(void *binary) {
    static void *handle;
    return &handle;
}

char __cudaInitModule(void **handle) { return 1; }

void __cudaRegisterFunction(void **handle, const void *stub, char *function, const char *name) {
    pthread_mutex_lock(&lock);
    kernel(stub)->name = name;
    pthread_mutex_unlock(&lock);
}

static __thread struct {
    dim3 grid, block;
    size_t shared;
    void *stream;
} call;

unsigned __cudaPushCallConfiguration(dim3 grid, dim3 block, size_t shared, void *stream) {
    call.grid = grid, call.block = block, call.shared = shared, call.stream = stream;
    return 0;
}

Status __cudaPopCallConfiguration(dim3 *grid, dim3 *block, size_t *shared, void **stream) {
    *grid = call.grid, *block = call.block, *shared = call.shared, *stream = call.stream;
    return 0;
}

Status __cudaGetKernel(const void **kernel, const void *stub) { return *kernel = stub, 0; }

Status __cudaLaunchKernel(const void *stub, dim3 grid, dim3 block, void **args, size_t shared, void *stream) {
    return is_foreign(stream) ? INVALID_HANDLE : launch(stub);
}

Status cudaLaunchKernel(const void *stub, dim3 grid, dim3 block, void **args, size_t shared, void *stream) {
    int is_valid = grid.x && grid.y && grid.z && grid.y <= 65535 && grid.z <= 65535 && block.x * block.y * block.z &&
                   block.x * block.y * block.z <= 1024;
    if (is_foreign(stream)) return INVALID_HANDLE;
    return is_valid ? launch(stub) : cudaErrorInvalidConfiguration;
}

Status cudaLaunchKernelExC(const void *config, const void *stub, void **args) { return launch(stub); }

Status cudaLaunchCooperativeKernel(const void *stub, dim3 grid, dim3 block, void **args, size_t shared, void *stream) {
    return launch(stub);
}

Status cudaFuncGetAttributes(struct cudaFuncAttributes *of, const void *stub) {
    memset(of, 0, sizeof *of);
    of->maxThreadsPerBlock = 1024;
    of->numRegs = 32;
    of->binaryVersion = of->ptxVersion = 90;
    return 0;
}

Status cudaOccupancyMaxActiveBlocksPerMultiprocessor(int *blocks, const void *stub, int threads, size_t shared) {
    return *blocks = 2, 0;
}

Status cudaOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int *blocks, const void *stub, int threads,
                                                              size_t shared, unsigned flags) {
    return *blocks = 2, 0;
}

Status cudaGetSymbolAddress(void **address, const void *symbol) {
    static char memory[1 << 20];
    return *address = memory, 0;
}

// Errors.

static const struct {
    int code;
    const char *name, *text;
} errors[] = {
    {0, "cudaSuccess", "no error"},
    {OUT_OF_MEMORY, "cudaErrorMemoryAllocation", "out of memory"},
    {OLD_DRIVER, "cudaErrorInsufficientDriver", "CUDA driver version is insufficient for CUDA runtime version"},
    {46, "cudaErrorDevicesUnavailable", "CUDA-capable device(s) is/are busy or unavailable"},
    {NO_DEVICE, "cudaErrorNoDevice", "no CUDA-capable device is detected"},
    {INVALID_DEVICE, "cudaErrorInvalidDevice", "invalid device ordinal"},
    {INVALID_IMAGE, "cudaErrorInvalidKernelImage", "device kernel image is invalid"},
    {INVALID_HANDLE, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
    {214, "cudaErrorECCUncorrectable", "uncorrectable ECC error encountered"},
    {700, "cudaErrorIllegalAddress", "an illegal memory access was encountered"},
    {719, "cudaErrorLaunchFailure", "unspecified launch failure"},
    {999, "cudaErrorUnknown", "unknown error"},
};

static int error(int code) {
    int last = sizeof errors / sizeof *errors - 1;
    for (int i = 0; i < last; i++)
        if (errors[i].code == code) return i;
    return last;
}

Status cudaGetLastError(void) { return fault(); }
Status cudaPeekAtLastError(void) { return fault(); }
const char *cudaGetErrorString(Status code) { return errors[error(code)].text; }
const char *cudaGetErrorName(Status code) { return errors[error(code)].name; }
Status cuGetErrorString(Status code, const char **text) { return *text = errors[error(code)].text, 0; }
Status cuGetErrorName(Status code, const char **name) { return *name = errors[error(code)].name, 0; }

// The driver.

static char contexts[MOST_DEVICES];

Status cuInit(unsigned flags) { return devices_of_machine() ? fault() : NO_DEVICE; }
Status cuDriverGetVersion(int *version) { return cudaDriverGetVersion(version); }
Status cuDeviceGetCount(int *devices) { return *devices = devices_of_machine(), 0; }
Status cuDeviceGet(int *device, int index) { return *device = index, index < devices_of_machine() ? 0 : INVALID_DEVICE; }
Status cuDeviceGetAttribute(int *value, int which, int device) { return attribute(value, which); }
Status cuDeviceGetName(char *name, int room, int device) { return snprintf(name, room, "%s", name_of(device)), 0; }
Status cuDeviceGetUuid_v2(char *uuid, int device) { return memset(uuid, 1 + device, 16), 0; }
Status cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) {
    return *flags = 0, *active = used_devices >> device & 1, 0;
}
Status cuDevicePrimaryCtxRetain(void **retained, int device) { return use(device), *retained = &contexts[device], fault(); }
Status cuCtxGetCurrent(void **now) { return *now = &contexts[current], fault(); }
Status cuCtxSetCurrent(void *context) { return current = (char *)context - contexts, fault(); }
Status cuMemGetInfo_v2(size_t *unused, size_t *total) { return cudaMemGetInfo(unused, total); }

// What the compiler below gives out as machine code.
static const char machine_code[] = "\x7f" "ELF of the null GPU";

Status cuModuleLoadData(void **module, const void *image) {
    *module = contexts;
    return memcmp(image, machine_code, 4) ? INVALID_IMAGE : fault();
}

Status cuModuleGetFunction(void **function, void *module, const char *name) { return *function = contexts, fault(); }

Status cuLaunchKernel(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y,
                      unsigned block_z, unsigned shared, void *stream, void **args, void **extra) {
    if (is_foreign(stream)) return INVALID_HANDLE;
    use(current);
    ADD(own);
    return fault();
}

static Status nothing(void) { return 0; }

Status cudaGetDriverEntryPointByVersion(const char *name, void **function, unsigned version, unsigned long long flags,
                                        int *found) {
    void *own = dlsym(RTLD_DEFAULT, name);
    *function = own ? own : (void *)nothing;
    if (found) *found = 0;
    return 0;
}

// The compiler.

Status nvrtcCreateProgram(void **program) { return *program = contexts, 0; }
Status nvrtcCompileProgram(void *program) { return 0; }
Status nvrtcDestroyProgram(void **program) { return 0; }
Status nvrtcGetCUBINSize(void *program, size_t *bytes) { return *bytes = sizeof machine_code, 0; }
Status nvrtcGetCUBIN(void *program, char *code) { return memcpy(code, machine_code, sizeof machine_code), 0; }
Status nvrtcGetProgramLogSize(void *program, size_t *bytes) { return *bytes = 1, 0; }
Status nvrtcGetProgramLog(void *program, char *log) { return *log = 0, 0; }
const char *nvrtcGetErrorString(Status code) { return "no error"; }

// cuBLAS, where a caller reads what it gets.

Status cublasCreate_v2(void **handle) { return new_handle(handle); }
Status cublasGetMathMode(void *handle, int *mode) { return *mode = 0, 0; }
Status cublasGetPointerMode_v2(void *handle, int *mode) { return *mode = 0, 0; }
Status cublasLtCreate(void **handle) { return new_handle(handle); }
size_t cublasLtGetVersion(void) { return 130100; }
Status cublasLtMatmulDescCreate(void **description) { return new_handle(description); }
Status cublasLtMatmulPreferenceCreate(void **preference) { return new_handle(preference); }
Status cublasLtMatrixLayoutCreate(void **layout) { return new_handle(layout); }

Status cublasLtMatmulAlgoGetHeuristic(void *handle, void *operation, void *a, void *b, void *c, void *d, void *preference,
                                      int asked, void *results, int *found) {
    return *found = 1, 0;
}

// cuSOLVER's decompositions of float32 matrices need no room.

Status cusolverDnCreate(void **handle) { return new_handle(handle); }
Status cusolverDnCreateParams(void **params) { return new_handle(params); }
Status cusolverDnCreateGesvdjInfo(void **info) { return new_handle(info); }

Status cusolverDnXgeqrf_bufferSize(void *handle, void *params, int64_t m, int64_t n, int type_a, void *a, int64_t lda,
                                   int type_tau, void *tau, int type, size_t *on_device, size_t *on_host) {
    return *on_device = *on_host = 0;
}

Status cusolverDnSgeqrf_bufferSize(void *handle, int m, int n, void *a, int lda, int *room) { return *room = 0; }

Status cusolverDnSorgqr_bufferSize(void *handle, int m, int n, int k, void *a, int lda, void *tau, int *room) {
    return *room = 0;
}

Status cusolverDnSgesvd_bufferSize(void *handle, int m, int n, int *room) { return *room = 0; }

Status cusolverDnSgesvdj_bufferSize(void *handle, int job, int economic, int m, int n, void *a, int lda, void *s, void *u,
                                    int ldu, void *v, int ldv, int *room, void *params) {
    return *room = 0;
}
