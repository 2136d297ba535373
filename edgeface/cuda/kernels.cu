// The headers' functions as kernels. Each takes one plain struct, which Python packs (`edgeface/cuda/arguments.py`);
// everything is in device memory, and nothing here waits or allocates, so that a stream can be captured as a graph.
#include "align.h"
#include "colour.h"
#include "detect.h"
#include "letterbox.h"

namespace k = edgeface::kernels;

namespace {

constexpr int kWord = 32;   // candidates a word of the overlap table holds
constexpr int kWords = 32;  // words a row has, so that `limit` must not be more than 1024

__device__ int column() { return static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x); }
__device__ int row() { return static_cast<int>(blockIdx.y * blockDim.y + threadIdx.y); }

}  // namespace

struct Nv12Arguments {
    k::Nv12 picture;
    k::YuvMatrix matrix;
    k::MutableImage rgb;
};

// One thread a pixel.
extern "C" __global__ void rgb_from_nv12(const Nv12Arguments a) {
    const int x = column(), y = row();
    if (x < a.rgb.width && y < a.rgb.height) k::nv12_pixel(a.picture, a.matrix, x, y, a.rgb.pixel(x, y));
}

struct SwapArguments {
    k::ConstImage bgr;
    k::MutableImage rgb;
};

// One thread a pixel.
extern "C" __global__ void rgb_from_bgr(const SwapArguments a) {
    const int x = column(), y = row();
    if (x < a.rgb.width && y < a.rgb.height) k::swapped_pixel(a.bgr, x, y, a.rgb.pixel(x, y));
}

struct CanvasArguments {
    k::ConstImage picture;
    k::MutableImage canvas;
    k::Letterbox fit;
    const k::Span* columns;
    const k::Span* rows;
};

// One thread a pixel of the canvas.
extern "C" __global__ void fit_canvas(const CanvasArguments a) {
    const int x = column(), y = row();
    if (x < a.canvas.width && y < a.canvas.height) {
        k::canvas_pixel(a.picture, a.fit, a.columns, a.rows, x, y, a.canvas.pixel(x, y));
    }
}

struct SelectArguments {
    k::DetectorMaps maps;
    int anchors;
    float threshold;
    int* found;   // how many candidates there are; zero before
    int* picked;  // their anchor numbers in no particular order, room for all anchors
};

// One thread an anchor.
extern "C" __global__ void select_candidates(const SelectArguments a) {
    const int index = column();
    if (index < a.anchors && a.maps.score[index] >= a.threshold) a.picked[atomicAdd(a.found, 1)] = index;
}

struct RankArguments {
    k::DetectorMaps maps;
    int anchors;
    int limit;
    const int* found;
    const int* picked;
    int* order;  // the best `limit` of them, best first
};

// One thread a candidate: its place is how many stand before it, whatever order they were picked in.
extern "C" __global__ void rank_candidates(const RankArguments a) {
    const int slot = column(), found = *a.found;
    if (slot >= found) return;
    const int index = a.picked[slot];
    const float score = a.maps.score[index];
    int place = 0;
    for (int other = 0; other < found; ++other) {
        const int rival = a.picked[other];
        place += k::stands_before(a.maps.score[rival], rival, score, index);
    }
    if (place < a.limit) a.order[place] = index;
}

struct DecodeArguments {
    k::DetectorMaps maps;
    k::AnchorGrid grid;
    int limit;
    const int* found;
    const int* order;
    float* boxes;  // [limit, 4] in canvas pixels
    k::Face* faces;  // [limit] in the image's pixels
    int* visible;  // [limit]
    k::Letterbox fit;
    int width;
    int height;
};

// One thread a ranked candidate.
extern "C" __global__ void decode_candidates(const DecodeArguments a) {
    const int place = column(), found = *a.found;
    if (place >= (found < a.limit ? found : a.limit)) return;
    k::Face face = k::decoded(a.maps, a.grid, a.order[place]);
    for (int c = 0; c < 4; ++c) a.boxes[4 * place + c] = face.box[c];
    a.visible[place] = k::to_picture(a.fit, a.width, a.height, &face);
    a.faces[place] = face;
}

struct OverlapArguments {
    int limit;
    const int* found;
    const float* boxes;
    double iou_threshold;
    unsigned* table;  // [limit, kWords]: which later candidates overlap this one
};

// One thread a word of the table: `x` the word, `y` the candidate.
extern "C" __global__ void mark_overlaps(const OverlapArguments a) {
    const int word = column(), place = row();
    const int count = *a.found < a.limit ? *a.found : a.limit;
    if (word >= kWords || place >= count) return;
    unsigned bits = 0;
    for (int bit = 0; bit < kWord; ++bit) {
        const int other = word * kWord + bit;
        if (other > place && other < count && k::iou(a.boxes + 4 * place, a.boxes + 4 * other) > a.iou_threshold) {
            bits |= 1u << bit;
        }
    }
    a.table[place * kWords + word] = bits;
}

struct SuppressArguments {
    int limit;
    const int* found;
    const unsigned* table;
    const k::Face* faces;
    const int* visible;
    int* count;       // how many faces there are
    k::Face* kept;  // [limit] best first
};

// One warp: each lane holds one word of who has been dropped, and lane 0 writes the faces that stay.
extern "C" __global__ void suppress(const SuppressArguments a) {
    __shared__ unsigned dropped[kWords];
    const int lane = static_cast<int>(threadIdx.x);
    const int candidates = *a.found < a.limit ? *a.found : a.limit;
    int count = 0;
    dropped[lane] = 0;
    __syncwarp();
    for (int place = 0; place < candidates; ++place) {
        const bool stays = !(dropped[place / kWord] >> (place % kWord) & 1u);
        __syncwarp();
        if (!stays) continue;
        dropped[lane] |= a.table[place * kWords + lane];
        if (a.visible[place]) {
            if (lane == 0) a.kept[count] = a.faces[place];
            ++count;
        }
        __syncwarp();
    }
    if (lane == 0) *a.count = count;
}

struct HalveArguments {
    k::ConstImage above;
    k::MutableImage below;
};

// One thread a pixel of the half.
extern "C" __global__ void halve(const HalveArguments a) {
    const int x = column(), y = row();
    if (x < a.below.width && y < a.below.height) k::halved_pixel(a.above, x, y, a.below.pixel(x, y));
}

struct PlanArguments {
    const k::Face* faces;
    const int* count;
    k::Sampling* plans;
    double target[2 * k::kLandmarks];  // the canonical landmarks in pixels of a crop
    int first;
    int crops;
    int width;
    int height;
};

// One thread a crop; those behind the last face repeat nothing and are left as they are.
extern "C" __global__ void plan_crops(const PlanArguments a) {
    const int crop = column();
    if (crop < a.crops && a.first + crop < *a.count) {
        a.plans[crop] = k::face_sampling(a.faces[a.first + crop], a.target, a.width, a.height);
    }
}

struct CropArguments {
    k::ConstImage picture;
    const std::uint8_t* halves;
    const k::Sampling* plans;
    const int* count;
    std::uint8_t* crops;  // [crops, size, size, 3]
    int first;
    int size;
};

// One thread a pixel, `z` the crop: all faces in one launch.
extern "C" __global__ void crop_faces(const CropArguments a) {
    const int x = column(), y = row(), crop = static_cast<int>(blockIdx.z);
    if (x >= a.size || y >= a.size || a.first + crop >= *a.count) return;
    const k::Sampling plan = a.plans[crop];
    const k::ConstImage level = k::pyramid_level(a.picture, a.halves, plan.level);
    const std::int64_t place = (static_cast<std::int64_t>(crop) * a.size + y) * a.size + x;
    k::crop_pixel(level, plan, x, y, a.crops + 3 * place);
}
