// The golden vectors that pin the alignment for NumPy, CUDA and C++ (tests/golden/README.md).
#include <cstring>
#include <stdexcept>

#include "check.h"
#include "edgeface/preprocess.h"
#include "fixtures.h"

namespace {

// The values of a .npy file of this type, row by row, whatever its shape.
template <typename Value>
std::vector<Value> read_npy(const std::string& name) {
    const std::string bytes = fixtures::read_file(fixtures::golden(name));
    if (bytes.compare(0, 6, "\x93NUMPY") != 0) throw std::runtime_error(name + " is no .npy file");
    const std::size_t header = 10 + static_cast<std::uint8_t>(bytes[8]) + 256u * static_cast<std::uint8_t>(bytes[9]);
    std::vector<Value> values((bytes.size() - header) / sizeof(Value));
    std::memcpy(values.data(), bytes.data() + header, values.size() * sizeof(Value));
    return values;
}

constexpr int kWidth = 161, kHeight = 120, kFaces = 6, kSize = 48;

std::vector<edgeface::kernels::Face> golden_faces() {
    const std::vector<float> landmarks = read_npy<float>("landmarks.npy");
    std::vector<edgeface::kernels::Face> faces(kFaces);
    for (std::size_t k = 0; k < kFaces; ++k) {
        std::memcpy(faces[k].landmarks, landmarks.data() + 10 * k, sizeof faces[k].landmarks);
    }
    return faces;
}

std::array<double, 10> golden_target() {
    const std::vector<double> points = read_npy<double>("template.npy");
    std::array<double, 10> target{};
    for (std::size_t k = 0; k < target.size(); ++k) target[k] = points[k] * kSize;
    return target;
}

void check_crops(const edgeface::ImageView& image) {
    const std::vector<std::uint8_t> wanted = read_npy<std::uint8_t>("crops.npy");
    CHECK_EQUAL(wanted.size(), std::size_t{kFaces} * kSize * kSize * 3);
    edgeface::Preprocessor frame;
    frame.load(image);
    const std::uint8_t* crops = frame.crops(golden_faces(), golden_target(), kSize);
    int worst = 0;
    double sum = 0.0;
    for (std::size_t k = 0; k < wanted.size(); ++k) {
        const int difference = std::abs(static_cast<int>(crops[k]) - wanted[k]);
        worst = std::max(worst, difference);
        sum += difference;
    }
    CHECK(worst <= 2);
    CHECK(sum / static_cast<double>(wanted.size()) < 0.5);
}

}  // namespace

TEST(crops_are_the_golden_ones) {
    const std::vector<std::uint8_t> pixels = read_npy<std::uint8_t>("image.npy");
    check_crops({pixels.data(), kWidth, kHeight, 3 * kWidth, EDGEFACE_RGB});
}

TEST(crops_of_bgr_rows_with_a_gap_are_the_golden_ones) {
    const std::vector<std::uint8_t> pixels = read_npy<std::uint8_t>("image.npy");
    const int stride = 3 * kWidth + 5;
    std::vector<std::uint8_t> bgr(static_cast<std::size_t>(stride) * kHeight, 77);
    for (int y = 0; y < kHeight; ++y) {
        for (int x = 0; x < 3 * kWidth; ++x) {
            bgr[static_cast<std::size_t>(y * stride + x / 3 * 3 + 2 - x % 3)] =
                pixels[static_cast<std::size_t>(y * 3 * kWidth + x)];
        }
    }
    check_crops({bgr.data(), kWidth, kHeight, stride, EDGEFACE_BGR});
}
