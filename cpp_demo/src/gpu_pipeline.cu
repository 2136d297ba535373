// The GPU's way: the frame goes up once, the answer comes down once, and the host waits once.
#include <algorithm>
#include <cstring>
#include <utility>

#include "attributes.h"
#include "cuda_memory.h"
#include "edgeface/cuda/kernels.cu"
#include "engine_tensorrt.h"
#include "pipeline.h"

namespace edgeface {
namespace {

constexpr int kCandidates = 1000;  // only the best of them count, as on the CPU
constexpr int kFacesAtOnce = 32;   // that come down with the first answer; what is more takes a second wait
constexpr std::size_t kAligned = 256;

dim3 blocks(int width, int height, dim3 threads, int depth = 1) {
    return {(width + threads.x - 1) / threads.x, (height + threads.y - 1) / threads.y, static_cast<unsigned>(depth)};
}

const dim3 kTile(32, 8), kRow(128);

// Launch `kernel` on a thread for each of width x height (x depth) items.
template <typename Arguments>
void launch(void (*kernel)(const Arguments), dim3 grid, dim3 threads, const Arguments& arguments, cudaStream_t stream) {
    kernel<<<grid, threads, 0, stream>>>(arguments);
    cuda::check(cudaGetLastError(), "launch a kernel");
}

std::size_t rounded(std::size_t bytes) { return (bytes + kAligned - 1) / kAligned * kAligned; }

// Device memory of one kind of value.
template <typename Value>
Value* of(const cuda::Buffer& buffer) {
    return static_cast<Value*>(buffer.data());
}

class GpuPipeline : public Pipeline {
public:
    explicit GpuPipeline(const Options& options)
        : detector_spec_(detector_spec(metadata(options.detector), "`" + options.detector + "`")),
          spec_(model_spec(metadata(options.attributes), "`" + options.attributes + "`")),
          heads_(heads_of(spec_)),
          detector_({options.detector, {"score", "box", "landmarks"}, "tensorrt", 0}),
          attributes_({options.attributes, heads_, "tensorrt", 0}),
          threshold_(options.score_threshold == 0.0f ? static_cast<float>(detector_spec_.score_threshold)
                                                     : options.score_threshold) {
        if (!(threshold_ > 0.0f && threshold_ <= 1.0f)) {
            throw Error(EDGEFACE_INVALID_ARGUMENT,
                        "score_threshold: expected a number above 0 and up to 1, found " + std::to_string(threshold_));
        }
    }

    std::string device() const override { return detector_.device(); }

    std::vector<Face> answer(const ImageView& image) override {
        check_image(image);
        if (image.width != width_ || image.height != height_) prepare(image.width, image.height);
        upload_frame(image);
        detect();
        halve_picture();
        int batch = batch_for(std::max(last_count_, 1));
        judge(0, batch);
        download();
        last_count_ = count();
        std::vector<Face> faces = found_faces();
        for (int first = 0; first < last_count_; first += batch) {
            if (first > 0) {  // more faces than were expected
                batch = batch_for(last_count_ - first);
                judge(first, batch);
                download();
            }
            const int rows = std::min(batch, last_count_ - first);
            take_answers(spec_, host_answers(rows), static_cast<std::size_t>(rows), faces.data() + first);
        }
        return faces;
    }

private:
    cudaStream_t stream() const { return stream_.get(); }

    // Everything that depends on the frame's size.
    void prepare(int width, int height) {
        const Shape& shape = detector_.input_shape();
        fit_ = shape[1] < 0 ? kernels::fit_letterbox(width, height, detector_spec_.longest_px, detector_spec_.multiple,
                                                     detector_spec_.upscale)
                            : fixed_fit(width, height, static_cast<int>(shape[2]), static_cast<int>(shape[1]));
        grid_ = {fit_.canvas_width, fit_.canvas_height, static_cast<int>(detector_spec_.strides.size()), {}};
        std::copy(detector_spec_.strides.begin(), detector_spec_.strides.end(), grid_.strides);
        anchors_ = kernels::anchor_count(grid_);
        const std::size_t pixels = 3 * static_cast<std::size_t>(width) * static_cast<std::size_t>(height);
        staged_.reserve(pixels);
        frame_.reserve(pixels);
        rgb_.reserve(pixels);
        canvas_.reserve(3 * static_cast<std::size_t>(fit_.canvas_width) * static_cast<std::size_t>(fit_.canvas_height));
        halves_.reserve(static_cast<std::size_t>(kernels::halves_bytes(width, height)) + 1);
        reserve_candidates();
        upload_spans(width, height);
        width_ = width;
        height_ = height;
    }

    kernels::Letterbox fixed_fit(int width, int height, int canvas_width, int canvas_height) const {
        const double scale =
            std::min(static_cast<double>(canvas_width) / width, static_cast<double>(canvas_height) / height);
        kernels::Letterbox way = kernels::fit_letterbox(
            width, height, static_cast<int>(std::max(width, height) * scale), 1, detector_spec_.upscale);
        way.canvas_width = canvas_width;
        way.canvas_height = canvas_height;
        return way;
    }

    void reserve_candidates() {
        const auto anchors = static_cast<std::size_t>(anchors_);
        score_.reserve(sizeof(float) * anchors);
        box_.reserve(4 * sizeof(float) * anchors);
        landmarks_.reserve(10 * sizeof(float) * anchors);
        found_.reserve(sizeof(int));
        picked_.reserve(sizeof(int) * anchors);
        order_.reserve(sizeof(int) * kCandidates);
        boxes_.reserve(4 * sizeof(float) * kCandidates);
        faces_.reserve(sizeof(kernels::Face) * kCandidates);
        visible_.reserve(sizeof(int) * kCandidates);
        table_.reserve(sizeof(unsigned) * kWords * kCandidates);
    }

    void upload_spans(int width, int height) {
        const bool shrinks = fit_.width < width;
        std::vector<kernels::Span> spans;
        for (int k = 0; k < fit_.width; ++k) spans.push_back(kernels::canvas_span(k, width, fit_.width, shrinks));
        for (int k = 0; k < fit_.height; ++k) spans.push_back(kernels::canvas_span(k, height, fit_.height, shrinks));
        spans_.reserve(sizeof(kernels::Span) * spans.size());
        cuda::upload(spans_.data(), spans.data(), sizeof(kernels::Span) * spans.size(), stream());
        stream_.wait();  // once a size; `spans` goes out of scope
    }

    // Rows without gaps in pinned memory, one copy, channels turned on the device.
    void upload_frame(const ImageView& image) {
        const std::size_t row = 3 * static_cast<std::size_t>(width_);
        auto* staged = static_cast<std::uint8_t*>(staged_.data());
        for (int y = 0; y < height_; ++y)
            std::memcpy(staged + row * static_cast<std::size_t>(y), image.pixels + y * image.stride, row);
        cuda::upload(frame_.data(), staged, row * static_cast<std::size_t>(height_), stream());
        const kernels::ConstImage sent{of<std::uint8_t>(frame_), width_, height_, static_cast<std::int64_t>(row)};
        picture_ = sent;
        if (image.format != EDGEFACE_BGR) return;
        const kernels::MutableImage rgb{of<std::uint8_t>(rgb_), width_, height_, sent.stride};
        launch(rgb_from_bgr, blocks(width_, height_, kTile), kTile, SwapArguments{sent, rgb}, stream());
        picture_ = rgb.view();
    }

    void detect() {
        const kernels::MutableImage canvas{of<std::uint8_t>(canvas_), fit_.canvas_width, fit_.canvas_height,
                                           3LL * fit_.canvas_width};
        const auto* columns = of<kernels::Span>(spans_);
        launch(fit_canvas, blocks(canvas.width, canvas.height, kTile), kTile,
               CanvasArguments{picture_, canvas, fit_, columns, columns + fit_.width}, stream());
        detector_.enqueue(canvas.data, {1, canvas.height, canvas.width, 3},
                          {score_.data(), box_.data(), landmarks_.data()}, stream());
        suppress_candidates();
    }

    void suppress_candidates() {
        const kernels::DetectorMaps maps{of<float>(score_), of<float>(box_), of<float>(landmarks_)};
        int* found = of<int>(found_);
        const dim3 anchors = blocks(anchors_, 1, kRow), ranked = blocks(kCandidates, 1, kRow);
        cuda::check(cudaMemsetAsync(found, 0, sizeof(int), stream()), "clear memory");
        launch(select_candidates, anchors, kRow, SelectArguments{maps, anchors_, threshold_, found, of<int>(picked_)},
               stream());
        launch(rank_candidates, anchors, kRow,
               RankArguments{maps, anchors_, kCandidates, found, of<int>(picked_), of<int>(order_)}, stream());
        launch(decode_candidates, ranked, kRow,
               DecodeArguments{maps, grid_, kCandidates, found, of<int>(order_), of<float>(boxes_),
                               of<kernels::Face>(faces_), of<int>(visible_), fit_, width_, height_},
               stream());
        launch(mark_overlaps, blocks(kWords, kCandidates, kTile), kTile,
               OverlapArguments{kCandidates, found, of<float>(boxes_), detector_spec_.nms_iou, of<unsigned>(table_)},
               stream());
        reserve_answer();
        launch(suppress, dim3(1), dim3(kWords),
               SuppressArguments{kCandidates, found, of<unsigned>(table_), of<kernels::Face>(faces_), of<int>(visible_),
                                 of<int>(answer_), kept()},
               stream());
    }

    void halve_picture() {
        for (int level = 1; level <= kernels::halvings(width_, height_); ++level) {
            const kernels::ConstImage above = kernels::pyramid_level(picture_, of<std::uint8_t>(halves_), level - 1);
            const kernels::ConstImage below = kernels::pyramid_level(picture_, of<std::uint8_t>(halves_), level);
            const kernels::MutableImage made{const_cast<std::uint8_t*>(below.data), below.width, below.height,
                                             below.stride};
            launch(halve, blocks(made.width, made.height, kTile), kTile, HalveArguments{above, made}, stream());
        }
    }

    // Crops and attributes of the faces from `first` on, as far as there are any.
    void judge(int first, int batch) {
        const int side = spec_.input_size;
        const std::size_t crop_bytes = 3 * static_cast<std::size_t>(side) * static_cast<std::size_t>(side);
        plans_.reserve(sizeof(kernels::Sampling) * static_cast<std::size_t>(batch));
        crops_.reserve(crop_bytes * static_cast<std::size_t>(batch));
        PlanArguments plan{kept(), of<int>(answer_), of<kernels::Sampling>(plans_), {}, first, batch, width_, height_};
        const std::array<double, 10> target = target_of(spec_);
        std::copy(target.begin(), target.end(), plan.target);
        launch(plan_crops, blocks(batch, 1, kRow), kRow, plan, stream());
        launch(crop_faces, blocks(side, side, kTile, batch), kTile,
               CropArguments{picture_, of<std::uint8_t>(halves_), plan.plans, plan.count, of<std::uint8_t>(crops_),
                             first, side},
               stream());
        std::vector<void*> outputs;
        for (std::size_t k = 0; k < heads_.size(); ++k) outputs.push_back(of<std::uint8_t>(answer_) + head_offset(k));
        attributes_.enqueue(crops_.data(), {batch, side, side, 3}, outputs, stream());
    }

    // The smallest power of two that holds so many faces, within what the engine takes.
    int batch_for(int faces) const {
        int batch = 1;
        while (batch < faces && batch < kFacesAtOnce) batch *= 2;
        const auto smallest = static_cast<int>(attributes_.smallest()[0]),
                   largest = static_cast<int>(attributes_.largest()[0]);
        return std::min(std::max(batch, smallest), std::min(largest, std::max(kFacesAtOnce, smallest)));
    }

    // The answer lies in one piece, so that one copy brings it: how many faces, the heads' outputs, the faces.
    void reserve_answer() {
        answer_.reserve(faces_offset() + sizeof(kernels::Face) * kCandidates);
        host_answer_.reserve(faces_offset() + sizeof(kernels::Face) * kFacesAtOnce);
    }

    std::size_t largest_batch() const { return static_cast<std::size_t>(batch_for(kFacesAtOnce)); }

    std::size_t head_offset(std::size_t head) const {
        std::size_t offset = kAligned;
        for (std::size_t k = 0; k < head; ++k) offset += rounded(sizeof(float) * largest_batch() * width_of(k));
        return offset;
    }

    std::size_t faces_offset() const { return head_offset(heads_.size()); }

    std::size_t width_of(std::size_t head) const {
        return std::max<std::size_t>(spec_.head(heads_[head]).labels.size(), 1);
    }

    kernels::Face* kept() const { return reinterpret_cast<kernels::Face*>(of<std::uint8_t>(answer_) + faces_offset()); }

    void download() {
        const std::size_t bytes = faces_offset() + sizeof(kernels::Face) * kFacesAtOnce;
        cuda::download(host_answer_.data(), answer_.data(), bytes, stream());
        stream_.wait();
    }

    int count() const { return *static_cast<const int*>(host_answer_.data()); }

    // Those that came with the answer, or all of them by a copy of their own where there are more.
    std::vector<Face> found_faces() const {
        const auto* first = static_cast<const std::uint8_t*>(host_answer_.data()) + faces_offset();
        const auto found = static_cast<std::size_t>(last_count_);
        if (last_count_ <= kFacesAtOnce) return places_of(reinterpret_cast<const kernels::Face*>(first), found);
        std::vector<kernels::Face> all(found);
        cuda::download(all.data(), kept(), sizeof(kernels::Face) * found, stream());
        stream_.wait();
        return places_of(all.data(), found);
    }

    std::vector<Tensor> host_answers(int rows) const {
        std::vector<Tensor> answers;
        for (std::size_t k = 0; k < heads_.size(); ++k) {
            const auto* start = static_cast<const std::uint8_t*>(host_answer_.data()) + head_offset(k);
            Shape shape{rows};
            if (!spec_.head(heads_[k]).labels.empty()) shape.push_back(static_cast<std::int64_t>(width_of(k)));
            answers.push_back({shape, reinterpret_cast<const float*>(start)});
        }
        return answers;
    }

    DetectorSpec detector_spec_;
    ModelSpec spec_;
    std::vector<std::string> heads_;
    TensorRtEngine detector_, attributes_;
    float threshold_;
    int width_ = 0, height_ = 0, anchors_ = 0, last_count_ = 0;
    kernels::Letterbox fit_{};
    kernels::AnchorGrid grid_{};
    kernels::ConstImage picture_{};
    cuda::Stream stream_;
    cuda::PinnedBuffer staged_, host_answer_;
    cuda::Buffer frame_, rgb_, canvas_, halves_, spans_;
    cuda::Buffer score_, box_, landmarks_, found_, picked_, order_, boxes_, faces_, visible_, table_;
    cuda::Buffer plans_, crops_, answer_;
};

}  // namespace

std::unique_ptr<Pipeline> open_gpu_pipeline(const Options& options) { return std::make_unique<GpuPipeline>(options); }

}  // namespace edgeface
