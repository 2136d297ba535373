// Enough of CUDA C++ to run kernels.cu on the CPU: threads one after the other, a warp that waits for itself as threads.
#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#define __global__
#define __device__
#define __shared__ static

namespace emulated {

struct Index {
    unsigned x, y, z;
};

// Lets `count` threads pass when all have come.
class Barrier {
public:
    explicit Barrier(unsigned count) : count_(count) {}
    void wait() {
        std::unique_lock lock(mutex_);
        const unsigned round = round_;
        if (++waiting_ == count_) {
            waiting_ = 0;
            ++round_;
            passed_.notify_all();
        } else {
            passed_.wait(lock, [&] { return round != round_; });
        }
    }

private:
    std::mutex mutex_;
    std::condition_variable passed_;
    unsigned count_, waiting_ = 0, round_ = 0;
};

inline thread_local Index block, thread, block_size;
inline thread_local Barrier* warp = nullptr;

inline int atomic_add(int* where, int amount) {
    const int before = *where;
    *where += amount;
    return before;
}

}  // namespace emulated

#define blockIdx emulated::block
#define threadIdx emulated::thread
#define blockDim emulated::block_size
#define atomicAdd emulated::atomic_add
#define __syncwarp() emulated::warp->wait()
