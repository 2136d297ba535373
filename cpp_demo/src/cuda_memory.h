// The CUDA runtime, owned: streams, device and pinned memory that only grow, the GPU at hand.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <string>
#include <utility>

#include "edgeface/error.h"

namespace edgeface::cuda {

inline void check(cudaError_t code, const char* what) {
    if (code == cudaSuccess) return;
    const edgeface_status status = code == cudaErrorMemoryAllocation ? EDGEFACE_OUT_OF_MEMORY : EDGEFACE_BACKEND_FAILED;
    throw Error(status, std::string("CUDA could not ") + what + ": " + cudaGetErrorString(code));
}

struct Gpu {
    std::string name;
    std::string compute_capability;
};

// The current device. Throws `Error` where there is none.
inline Gpu find_gpu() {
    int device = 0;
    cudaDeviceProp facts{};
    check(cudaGetDevice(&device), "find a GPU");
    check(cudaGetDeviceProperties(&facts, device), "ask the GPU what it is");
    return {facts.name, std::to_string(facts.major) + "." + std::to_string(facts.minor)};
}

class Stream {
public:
    Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "open a stream"); }
    ~Stream() { cudaStreamDestroy(stream_); }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    cudaStream_t get() const { return stream_; }
    void wait() const { check(cudaStreamSynchronize(stream_), "run what was asked of it"); }

private:
    cudaStream_t stream_ = nullptr;
};

// Memory of the device or, pinned, of the host.
template <bool pinned>
class Memory {
public:
    Memory() = default;
    ~Memory() { release(); }
    Memory(Memory&& other) noexcept
        : data_(std::exchange(other.data_, nullptr)), bytes_(std::exchange(other.bytes_, 0)) {}
    Memory& operator=(Memory&& other) noexcept {
        std::swap(data_, other.data_);
        std::swap(bytes_, other.bytes_);
        return *this;
    }

    // At least so many bytes; what was there is lost where they were fewer.
    void reserve(std::size_t bytes) {
        if (bytes <= bytes_) return;
        release();
        check(pinned ? cudaHostAlloc(&data_, bytes, cudaHostAllocDefault) : cudaMalloc(&data_, bytes),
              "allocate memory");
        bytes_ = bytes;
    }

    void* data() const { return data_; }

private:
    void release() {
        if (pinned) {
            cudaFreeHost(data_);
        } else {
            cudaFree(data_);
        }
        data_ = nullptr;
        bytes_ = 0;
    }

    void* data_ = nullptr;
    std::size_t bytes_ = 0;
};

using Buffer = Memory<false>;
using PinnedBuffer = Memory<true>;

inline void upload(void* device, const void* host, std::size_t bytes, cudaStream_t stream) {
    check(cudaMemcpyAsync(device, host, bytes, cudaMemcpyHostToDevice, stream), "copy to the GPU");
}

inline void download(void* host, const void* device, std::size_t bytes, cudaStream_t stream) {
    check(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, stream), "copy from the GPU");
}

}  // namespace edgeface::cuda
