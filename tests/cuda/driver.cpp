// A CUDA driver that runs the real kernels.cu on the CPU. Streams keep their work until somebody waits, so that what is
// read too early is wrong here as well; memory is counted and limited; a module is any image that begins with a name.
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <string>

#if __has_include(<cuda.h>)
#include <cuda.h>  // the compiler then checks every signature below
#undef cuEventElapsedTime  // CUDA 13 renames it for new programs; drivers keep the old name
#else
enum CUresult { CUDA_SUCCESS, CUDA_ERROR_INVALID_VALUE, CUDA_ERROR_OUT_OF_MEMORY, CUDA_ERROR_NO_BINARY_FOR_GPU = 209,
                CUDA_ERROR_NOT_FOUND = 500, CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901 };
enum CUdevice_attribute : int {};
enum CUstreamCaptureMode : int {};
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using cuuint64_t = std::uint64_t;
using CUcontext = struct CUctx_st*;
using CUstream = struct CUstream_st*;
using CUgraph = struct CUgraph_st*;
using CUgraphExec = struct CUgraphExec_st*;
using CUevent = struct CUevent_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUhostFn = void (*)(void*);
#endif

#include "emulated.h"

#include "kernels.cu"

using Work = std::function<void()>;
using Works = std::vector<Work>;

struct CUstream_st {
    Works queue;
    Works* captured = nullptr;
};
struct CUgraph_st {
    Works works;
};
struct CUgraphExec_st {
    Works works;
};
struct CUevent_st {
    int moment = 0;
};
struct Launch {
    emulated::Index blocks, threads;
};
struct CUfunc_st {
    std::size_t size;
    std::function<void(const Launch&, const void*)> run;
};

namespace {

constexpr unsigned kWarp = 32;
std::map<void*, std::size_t> allocations;
std::size_t used = 0, limit = std::size_t{1} << 32;
int retained = 0, pushed = 0, moment = 0, version = 12040, live = 0;

template <typename Arguments>
void run_block(void (*kernel)(Arguments), const Arguments& arguments, emulated::Index block, emulated::Index size,
               bool warp) {
    emulated::Barrier barrier(kWarp);
    const auto one = [&](emulated::Index thread) {
        emulated::block = block;
        emulated::block_size = size;
        emulated::thread = thread;
        emulated::warp = &barrier;
        kernel(arguments);
    };
    if (warp) {
        std::vector<std::thread> lanes;
        for (unsigned x = 0; x < kWarp; ++x) lanes.emplace_back(one, emulated::Index{x, 0, 0});
        for (std::thread& lane : lanes) lane.join();
        return;
    }
    for (unsigned z = 0; z < size.z; ++z)
        for (unsigned y = 0; y < size.y; ++y)
            for (unsigned x = 0; x < size.x; ++x) one({x, y, z});
}

template <typename Arguments>
CUfunc_st function(void (*kernel)(Arguments), bool warp = false) {
    return {sizeof(Arguments), [kernel, warp](const Launch& launch, const void* packed) {
                Arguments arguments;
                std::memcpy(static_cast<void*>(&arguments), packed, sizeof arguments);
                for (unsigned z = 0; z < launch.blocks.z; ++z)
                    for (unsigned y = 0; y < launch.blocks.y; ++y)
                        for (unsigned x = 0; x < launch.blocks.x; ++x)
                            run_block(kernel, arguments, {x, y, z}, launch.threads, warp);
            }};
}

std::map<std::string, CUfunc_st>& functions() {
    static std::map<std::string, CUfunc_st> all = {
        {"rgb_from_nv12", function(rgb_from_nv12)},
        {"rgb_from_bgr", function(rgb_from_bgr)},
        {"fit_canvas", function(fit_canvas)},
        {"select_candidates", function(select_candidates)},
        {"rank_candidates", function(rank_candidates)},
        {"decode_candidates", function(decode_candidates)},
        {"mark_overlaps", function(mark_overlaps)},
        {"suppress", function(suppress, true)},
        {"halve", function(halve)},
        {"plan_crops", function(plan_crops)},
        {"crop_faces", function(crop_faces)},
    };
    return all;
}

void submit(CUstream stream, Work work) {
    (stream->captured ? *stream->captured : stream->queue).push_back(std::move(work));
}

void* allocate(std::size_t size) {
    if (used + size > limit) return nullptr;
    void* memory = std::malloc(size);
    std::memset(memory, 0xA5, size);
    allocations[memory] = size;
    used += size;
    ++live;
    return memory;
}

CUresult release(void* memory) {
    const auto found = allocations.find(memory);
    if (found == allocations.end()) return CUDA_ERROR_INVALID_VALUE;
    std::memset(memory, 0x5A, found->second);
    used -= found->second;
    allocations.erase(found);
    std::free(memory);
    --live;
    return CUDA_SUCCESS;
}

void* at(CUdeviceptr address) { return reinterpret_cast<void*>(address); }
CUdeviceptr address(void* memory) { return reinterpret_cast<CUdeviceptr>(memory); }

template <typename T>
CUresult made(T** where) {
    *where = new T;
    ++live;
    return CUDA_SUCCESS;
}

template <typename T>
CUresult gone(T* thing) {
    delete thing;
    --live;
    return CUDA_SUCCESS;
}

}  // namespace

extern "C" {

// What the tests set and ask: the memory there is, the driver's version, and how many things are still alive.
void emulated_limit(std::size_t bytes) { limit = bytes; }
void emulated_version(int wanted) { version = wanted; }
int emulated_live() { return live + retained + pushed; }
int emulated_argument_bytes(const char* kernel) { return static_cast<int>(functions().at(kernel).size); }

CUresult cuInit(unsigned) { return CUDA_SUCCESS; }
CUresult cuDriverGetVersion(int* out) { return *out = version, CUDA_SUCCESS; }
CUresult cuGetErrorName(CUresult code, const char** text) {
    *text = code == CUDA_ERROR_OUT_OF_MEMORY ? "CUDA_ERROR_OUT_OF_MEMORY" : "CUDA_ERROR_OF_THE_EMULATOR";
    return CUDA_SUCCESS;
}
CUresult cuGetErrorString(CUresult, const char** text) { return *text = "an error", CUDA_SUCCESS; }
CUresult cuDeviceGetCount(int* count) { return *count = 1, CUDA_SUCCESS; }
CUresult cuDeviceGet(CUdevice* device, int) { return *device = 0, CUDA_SUCCESS; }
CUresult cuDeviceGetName(char* name, int size, CUdevice) {
    std::strncpy(name, "emulated", static_cast<std::size_t>(size));
    return CUDA_SUCCESS;
}
CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute which, CUdevice) {
    *value = static_cast<int>(which) == 75 ? 8 : static_cast<int>(which) == 76 ? 7 : 0;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice) {
    *context = reinterpret_cast<CUcontext>(1);
    ++retained;
    return CUDA_SUCCESS;
}
CUresult cuDevicePrimaryCtxRelease_v2(CUdevice) { return --retained, CUDA_SUCCESS; }
CUresult cuCtxPushCurrent_v2(CUcontext) { return ++pushed, CUDA_SUCCESS; }
CUresult cuCtxPopCurrent_v2(CUcontext*) { return --pushed, CUDA_SUCCESS; }
CUresult cuMemGetInfo_v2(std::size_t* free, std::size_t* total) {
    *free = limit - used;
    *total = limit;
    return CUDA_SUCCESS;
}
CUresult cuMemAlloc_v2(CUdeviceptr* out, std::size_t size) {
    void* memory = allocate(size);
    *out = address(memory);
    return memory ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuMemFree_v2(CUdeviceptr memory) { return release(at(memory)); }
CUresult cuMemHostAlloc(void** out, std::size_t size, unsigned) {
    *out = allocate(size);
    return *out ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}
CUresult cuMemFreeHost(void* memory) { return release(memory); }
CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* out, void* memory, unsigned) {
    return *out = address(memory), CUDA_SUCCESS;
}
CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, std::size_t size, CUstream stream) {
    return submit(stream, [=] { std::memcpy(at(to), from, size); }), CUDA_SUCCESS;
}
CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, std::size_t size, CUstream stream) {
    return submit(stream, [=] { std::memcpy(to, at(from), size); }), CUDA_SUCCESS;
}
CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, std::size_t size, CUstream stream) {
    return submit(stream, [=] { std::memcpy(at(to), at(from), size); }), CUDA_SUCCESS;
}
CUresult cuMemsetD32Async(CUdeviceptr to, unsigned value, std::size_t words, CUstream stream) {
    return submit(stream, [=] { std::fill_n(static_cast<unsigned*>(at(to)), words, value); }), CUDA_SUCCESS;
}
CUresult cuLaunchHostFunc(CUstream stream, CUhostFn function, void* data) {
    return submit(stream, [=] { function(data); }), CUDA_SUCCESS;
}
CUresult cuStreamCreate(CUstream* stream, unsigned) { return made(stream); }
CUresult cuStreamDestroy_v2(CUstream stream) { return gone(stream); }
CUresult cuStreamSynchronize(CUstream stream) {
    if (stream->captured) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    for (const Work& work : Works(std::move(stream->queue))) work();
    stream->queue.clear();
    ++moment;
    return CUDA_SUCCESS;
}
CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode) {
    return stream->captured = new Works, CUDA_SUCCESS;
}
CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
    made(graph);
    (*graph)->works = std::move(*stream->captured);
    delete stream->captured;
    stream->captured = nullptr;
    return CUDA_SUCCESS;
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec* out, CUgraph graph, unsigned long long) {
    made(out);
    (*out)->works = graph->works;
    return CUDA_SUCCESS;
}
CUresult cuGraphLaunch(CUgraphExec graph, CUstream stream) {
    for (const Work& work : graph->works) submit(stream, work);
    return CUDA_SUCCESS;
}
CUresult cuGraphExecDestroy(CUgraphExec graph) { return gone(graph); }
CUresult cuGraphDestroy(CUgraph graph) { return gone(graph); }
CUresult cuEventCreate(CUevent* event, unsigned) { return made(event); }
CUresult cuEventDestroy_v2(CUevent event) { return gone(event); }
CUresult cuEventRecord(CUevent event, CUstream stream) {
    return submit(stream, [=] { event->moment = ++moment; }), CUDA_SUCCESS;
}
CUresult cuEventElapsedTime(float* ms, CUevent start, CUevent end) {
    *ms = static_cast<float>(end->moment - start->moment);
    return CUDA_SUCCESS;
}
CUresult cuModuleLoadData(CUmodule* module, const void* image) {
    if (std::strncmp(static_cast<const char*>(image), "emulated", 8) != 0) return CUDA_ERROR_NO_BINARY_FOR_GPU;
    *module = reinterpret_cast<CUmodule>(1);
    ++live;
    return CUDA_SUCCESS;
}
CUresult cuModuleUnload(CUmodule) { return --live, CUDA_SUCCESS; }
CUresult cuModuleGetFunction(CUfunction* out, CUmodule, const char* name) {
    const auto found = functions().find(name);
    if (found == functions().end()) return CUDA_ERROR_NOT_FOUND;
    *out = &found->second;
    return CUDA_SUCCESS;
}
CUresult cuLaunchKernel(CUfunction function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                        unsigned bz, unsigned, CUstream stream, void** parameters, void**) {
    const auto* bytes = static_cast<const char*>(parameters[0]);
    if (!gx || !gy || !gz || !bx || !by || !bz || bx * by * bz > 1024) return CUDA_ERROR_INVALID_VALUE;
    const std::vector<char> packed(bytes, bytes + function->size);
    const Launch launch = {{gx, gy, gz}, {bx, by, bz}};
    submit(stream, [=] { function->run(launch, packed.data()); });
    return CUDA_SUCCESS;
}
}
