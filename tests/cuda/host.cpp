// The kernels' host build behind plain C functions, for ctypes.
#include "host.h"

namespace k = edgeface::kernels;

extern "C" {

void rgb_from_nv12(const std::uint8_t* luma, std::int64_t luma_stride, const std::uint8_t* chroma,
                   std::int64_t chroma_stride, int width, int height, double red, double blue, int full,
                   std::uint8_t* rgb, std::int64_t stride) {
    k::rgb_from_nv12({luma, chroma, width, height, luma_stride, chroma_stride}, k::yuv_matrix(red, blue, full != 0),
                     {rgb, width, height, stride});
}

void rgb_from_bgr(const std::uint8_t* bgr, std::int64_t bgr_stride, int width, int height, std::uint8_t* rgb,
                  std::int64_t stride) {
    k::rgb_from_bgr({bgr, width, height, bgr_stride}, {rgb, width, height, stride});
}

void fit_letterbox(int width, int height, int longest, int multiple, double upscale, k::Letterbox* fit) {
    *fit = k::fit_letterbox(width, height, longest, multiple, upscale);
}

void fit_canvas(const std::uint8_t* picture, std::int64_t stride, int width, int height, const k::Letterbox* fit,
                std::uint8_t* canvas) {
    k::fit_canvas({picture, width, height, stride}, *fit,
                  {canvas, fit->canvas_width, fit->canvas_height, 3LL * fit->canvas_width});
}

void fit_canvas_pixel_by_pixel(const std::uint8_t* picture, std::int64_t stride, int width, int height,
                               const k::Letterbox* fit, std::uint8_t* canvas) {
    const bool shrinks = fit->width < width;
    const std::vector<k::Span> columns = k::canvas_spans(width, fit->width, shrinks);
    const std::vector<k::Span> rows = k::canvas_spans(height, fit->height, shrinks);
    const k::MutableImage out = {canvas, fit->canvas_width, fit->canvas_height, 3LL * fit->canvas_width};
    for (int y = 0; y < out.height; ++y) {
        for (int x = 0; x < out.width; ++x) {
            k::canvas_pixel({picture, width, height, stride}, *fit, columns.data(), rows.data(), x, y, out.pixel(x, y));
        }
    }
}

int similarity(const double* source, const double* target, k::Affine* matrix) {
    return k::similarity(source, target, matrix);
}

int find_faces(const float* score, const float* box, const float* landmarks, const k::AnchorGrid* grid,
               float threshold, double iou, int limit, const k::Letterbox* fit, int width, int height, k::Face* faces,
               int capacity) {
    return k::find_faces({score, box, landmarks}, *grid, threshold, iou, limit, *fit, width, height, faces, capacity);
}

double iou(const float* first, const float* second) { return k::iou(first, second); }

void crop_faces(const std::uint8_t* picture, std::int64_t stride, int width, int height, const k::Face* faces,
                int count, const double* target, int size, std::uint8_t* crops) {
    std::vector<k::Sampling> plans(count);
    std::vector<std::uint8_t> halves(k::halves_bytes(width, height));
    const k::ConstImage image = {picture, width, height, stride};
    k::build_halves(image, k::plan_crops(faces, count, target, width, height, plans.data()), halves.data());
    k::crop_faces(image, halves.data(), plans.data(), count, size, crops);
}
}
