// A CUDA driver that runs the real kernels.cu on the CPU. Streams keep their work until someone waits, so that what is
// read too early is wrong here as well; memory is counted and limited, and what is freed is overwritten; a capture is
// spoilt by what may not happen during one; every piece of work takes a microsecond; a module is any image that begins
// with a name.
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
                CUDA_ERROR_NOT_FOUND = 500, CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
                CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901 };
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
    bool spoilt = false;
};
struct CUgraph_st {
    Works works;
};
struct CUgraphExec_st {
    Works works;
};
struct CUevent_st {
    int moment = 0;
    CUstream stream = nullptr;  // what it was recorded in
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
int pending = 0, retained = 0, pushed = 0, moment = 0, version = 12040, live = 0;
CUstream_st legacy;                  // the default stream, whose handles are the numbers 0 to 2
CUstream_st* capturing = nullptr;    // of any thread: the emulated driver has one
std::string failing;                 // the function that fails next time

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

CUstream real(CUstream stream) { return reinterpret_cast<std::uintptr_t>(stream) <= 2 ? &legacy : stream; }

void submit(CUstream stream, Work work) {
    if (!real(stream)->captured) ++pending;
    (real(stream)->captured ? *stream->captured : real(stream)->queue).push_back(std::move(work));
}

void drain(CUstream stream) {
    const Works works = std::move(real(stream)->queue);
    real(stream)->queue.clear();
    for (const Work& work : works) {
        work();
        ++moment;
        --pending;
    }
}

// Whether a call comes at the wrong time; a capture that is going on is worth nothing after it.
bool spoils_capture() {
    if (capturing) capturing->spoilt = true;
    return capturing;
}

bool fails(const char* name) {
    if (failing != name) return false;
    failing.clear();
    return true;
}

void* allocate(std::size_t size) {
    if (spoils_capture() || used + size > limit) return nullptr;
    void* memory = std::aligned_alloc(256, (size + 255) / 256 * 256);  // as the driver aligns
    std::memset(memory, 0xA5, size);
    allocations[memory] = size;
    used += size;
    ++live;
    return memory;
}

CUresult release(void* memory) {
    const auto found = allocations.find(memory);
    if (found == allocations.end()) return CUDA_ERROR_INVALID_VALUE;
    if (spoils_capture()) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
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
void emulated_fail(const char* name) { failing = name; }
int emulated_capturing() { return capturing != nullptr; }
int emulated_pending() { return pending; }
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
CUresult cuCtxSynchronize() { return spoils_capture() ? CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED : CUDA_SUCCESS; }
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
CUresult cuStreamDestroy_v2(CUstream stream) {
    pending -= static_cast<int>(stream->queue.size());
    return gone(stream);
}
CUresult cuStreamSynchronize(CUstream stream) {
    if (fails("cuStreamSynchronize")) return CUDA_ERROR_INVALID_VALUE;
    if (real(stream)->captured) return spoils_capture(), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    return drain(stream), CUDA_SUCCESS;
}
CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned) {
    return submit(stream, [=] { if (event->stream) drain(event->stream); }), CUDA_SUCCESS;
}
CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode) {
    stream->spoilt = false;
    capturing = stream;
    return stream->captured = new Works, CUDA_SUCCESS;
}
CUresult cuStreamEndCapture(CUstream stream, CUgraph* graph) {
    capturing = nullptr;
    if (stream->spoilt) *graph = nullptr;
    else made(graph);
    if (!stream->spoilt) (*graph)->works = std::move(*stream->captured);
    delete stream->captured;
    stream->captured = nullptr;
    return stream->spoilt ? CUDA_ERROR_STREAM_CAPTURE_INVALIDATED : CUDA_SUCCESS;
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
CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned) {
    event->stream = real(stream);
    return submit(stream, [=] { event->moment = moment; }), CUDA_SUCCESS;
}
CUresult cuEventRecord(CUevent event, CUstream stream) { return cuEventRecordWithFlags(event, stream, 0); }
CUresult cuEventElapsedTime(float* ms, CUevent start, CUevent end) {
    *ms = 1e-3f * static_cast<float>(end->moment - start->moment);
    return CUDA_SUCCESS;
}
CUresult cuModuleLoadData(CUmodule* module, const void* image) {
    if (spoils_capture()) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
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
    if (fails("cuLaunchKernel")) return CUDA_ERROR_INVALID_VALUE;
    if (!gx || !gy || !gz || !bx || !by || !bz || bx * by * bz > 1024) return CUDA_ERROR_INVALID_VALUE;
    const std::vector<char> packed(bytes, bytes + function->size);
    const Launch launch = {{gx, gy, gz}, {bx, by, bz}};
    submit(stream, [=] { function->run(launch, packed.data()); });
    return CUDA_SUCCESS;
}
}
