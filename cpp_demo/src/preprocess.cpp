#include "edgeface/preprocess.h"

#include <algorithm>
#include <string>

#include "edgeface/cuda/host.h"
#include "edgeface/error.h"

namespace edgeface {

void check_image(const ImageView& image) {
    constexpr int kMaxSide = 1 << 15;
    std::string what;
    if (image.pixels == nullptr) {
        what = "the pixels are NULL";
    } else if (image.width < 1 || image.height < 1 || image.width > kMaxSide || image.height > kMaxSide) {
        what = "expected 1 to " + std::to_string(kMaxSide) + " pixels a side, found " + std::to_string(image.width) +
               "x" + std::to_string(image.height);
    } else if (image.stride < 3 * static_cast<std::ptrdiff_t>(image.width)) {
        what = "expected a stride of at least 3 * width = " + std::to_string(3 * image.width) + " bytes, found " +
               std::to_string(image.stride);
    } else if (image.format != EDGEFACE_RGB && image.format != EDGEFACE_BGR) {
        what = "expected the format EDGEFACE_RGB (0) or EDGEFACE_BGR (1), found " + std::to_string(image.format);
    }
    if (!what.empty()) throw Error(EDGEFACE_INVALID_IMAGE, "frame: " + what);
}

const kernels::ConstImage& Preprocessor::load(const ImageView& image) {
    check_image(image);
    picture_ = {image.pixels, image.width, image.height, image.stride};
    if (image.format == EDGEFACE_BGR) {
        const std::int64_t stride = 3LL * image.width;
        rgb_.resize(static_cast<std::size_t>(stride * image.height));
        const kernels::MutableImage rgb{rgb_.data(), image.width, image.height, stride};
        kernels::rgb_from_bgr(picture_, rgb);
        picture_ = rgb.view();
    }
    return picture_;
}

const std::uint8_t* Preprocessor::canvas(const kernels::Letterbox& fit) {
    const std::int64_t stride = 3LL * fit.canvas_width;
    canvas_.resize(static_cast<std::size_t>(stride * fit.canvas_height));
    kernels::fit_canvas(picture_, fit, {canvas_.data(), fit.canvas_width, fit.canvas_height, stride});
    return canvas_.data();
}

const std::uint8_t* Preprocessor::crops(const std::vector<kernels::Face>& faces, const std::array<double, 10>& target,
                                        int size) {
    const int count = static_cast<int>(faces.size());
    plans_.resize(faces.size());
    crops_.resize(3 * static_cast<std::size_t>(size) * static_cast<std::size_t>(size) * faces.size());
    const int wanted =
        kernels::plan_crops(faces.data(), count, target.data(), picture_.width, picture_.height, plans_.data());
    const int deepest = std::min(wanted, kernels::kMaxLevels - 1);  // which it is; now the compiler knows
    halves_.resize(static_cast<std::size_t>(kernels::level_offset(picture_.width, picture_.height, deepest + 1)));
    kernels::build_halves(picture_, deepest, halves_.data());
    kernels::crop_faces(picture_, halves_.data(), plans_.data(), count, size, crops_.data());
    return crops_.data();
}

}  // namespace edgeface
