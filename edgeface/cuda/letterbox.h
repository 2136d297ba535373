// An image scaled into the top-left corner of a detector's canvas: `geometry.letterbox` and `preprocess.fit_canvas`.
#pragma once

#include "common.h"

namespace edgeface::kernels {

// How an image was scaled into a padded canvas; sizes in pixels.
struct Letterbox {
    double scale_x;
    double scale_y;
    int width;
    int height;
    int canvas_width;
    int canvas_height;
};

EDGEFACE_HD int rounded_up(int value, int multiple) { return (value + multiple - 1) / multiple * multiple; }

EDGEFACE_HD int at_least_one(double value) {
    const int rounded = static_cast<int>(rint(value));
    return rounded < 1 ? 1 : rounded;
}

// Fit an image so that its longest side is at most `longest_px`; a smaller one is enlarged by at most `upscale`. The
// canvas is the result rounded up to whole `multiple`s.
EDGEFACE_HD Letterbox fit_letterbox(int width, int height, int longest_px, int multiple, double upscale) {
    const double fitting = static_cast<double>(longest_px) / (width > height ? width : height);
    const double scale = fitting < upscale ? fitting : upscale;
    const int new_width = at_least_one(width * scale);
    const int new_height = at_least_one(height * scale);
    return {static_cast<double>(new_width) / width,
            static_cast<double>(new_height) / height,
            new_width,
            new_height,
            rounded_up(new_width, multiple),
            rounded_up(new_height, multiple)};
}

// How one row or column of the scaled image is made of the source's: `head` of the one at `first` (none where it is
// 0), `inner` of each from `first + 1` up to `last` without it, and `tail` of the one at `last` (none where it is 0).
struct Span {
    int first;
    int last;
    float head;
    float inner;
    float tail;
};

// Weighted by the area each source pixel covers, for shrinking; what lies less than 1/1000 pixel inside is left out.
EDGEFACE_HD Span area_span(int index, int source, int target) {
    const double scale = static_cast<double>(source) / target;
    const double begin = index * scale;
    const double end = begin + scale;
    const double extent = scale < source - begin ? scale : source - begin;
    int last = static_cast<int>(floor(end));
    last = last < source - 1 ? last : source - 1;
    int whole = static_cast<int>(ceil(begin));
    whole = whole < last ? whole : last;
    const double head = whole - begin > 1e-3 ? (whole - begin) / extent : 0.0;
    const double rest = end - last < 1.0 ? end - last : 1.0;
    const double tail = end - last > 1e-3 ? (rest < extent ? rest : extent) / extent : 0.0;
    return {whole - 1, last, static_cast<float>(head), static_cast<float>(1.0 / extent), static_cast<float>(tail)};
}

// Weighted linearly between the two nearest pixel centres, for enlarging; outside the first and last, the edge.
EDGEFACE_HD Span linear_span(int index, int source, int target) {
    const double at = (index + 0.5) * source / target - 0.5;
    const int low = static_cast<int>(floor(at));
    const float share = static_cast<float>(at - low);
    if (low < 0) return {0, 0, 1.0f, 0.0f, 0.0f};
    if (low >= source - 1) return {source - 1, source - 1, 1.0f, 0.0f, 0.0f};
    return {low, low + 1, 1.0f - share, 0.0f, share};
}

// The span of every column (`fit.width` of them) or row (`fit.height`): shrinking averages areas, so that small faces
// do not alias away, enlarging is linear. The image's width decides for both directions.
EDGEFACE_HD Span canvas_span(int index, int source, int target, bool shrinks) {
    return shrinks ? area_span(index, source, target) : linear_span(index, source, target);
}

// Adds `weight` times the weighted sum of the pixels of column `x` to the three `sums`.
EDGEFACE_HD void add_column(const ConstImage& picture, int x, const Span& rows, float weight, float* sums) {
    float part[3] = {0.0f, 0.0f, 0.0f};
    const std::uint8_t* pixel = picture.pixel(x, rows.first);
    if (rows.head > 0.0f) {
        for (int c = 0; c < 3; ++c) part[c] += rows.head * static_cast<float>(pixel[c]);
    }
    for (int y = rows.first + 1; y < rows.last; ++y) {
        pixel = picture.pixel(x, y);
        for (int c = 0; c < 3; ++c) part[c] += rows.inner * static_cast<float>(pixel[c]);
    }
    if (rows.tail > 0.0f) {
        pixel = picture.pixel(x, rows.last);
        for (int c = 0; c < 3; ++c) part[c] += rows.tail * static_cast<float>(pixel[c]);
    }
    for (int c = 0; c < 3; ++c) sums[c] += weight * part[c];
}

// Shrinking by exactly two rounds halves up, as OpenCV does there; every other scale rounds them to even.
EDGEFACE_HD std::uint8_t halved(int first, int second, int third, int fourth) {
    return static_cast<std::uint8_t>((first + second + third + fourth + 2) >> 2);
}

EDGEFACE_HD void halved_pixel(const ConstImage& picture, int x, int y, std::uint8_t* rgb) {
    const std::uint8_t* top = picture.pixel(2 * x, 2 * y);
    const std::uint8_t* bottom = top + picture.stride;
    for (int c = 0; c < 3; ++c) rgb[c] = halved(top[c], top[c + 3], bottom[c], bottom[c + 3]);
}

// The canvas' pixel of column `x` and row `y`; black outside the scaled image. `columns` and `rows` hold the spans.
EDGEFACE_HD void canvas_pixel(const ConstImage& picture, const Letterbox& fit, const Span* columns, const Span* rows,
                              int x, int y, std::uint8_t* rgb) {
    if (x >= fit.width || y >= fit.height) {
        rgb[0] = rgb[1] = rgb[2] = 0;
        return;
    }
    if (picture.width == 2 * fit.width && picture.height == 2 * fit.height) {
        halved_pixel(picture, x, y, rgb);
        return;
    }
    float sums[3] = {0.0f, 0.0f, 0.0f};
    const Span span = columns[x];
    if (span.head > 0.0f) add_column(picture, span.first, rows[y], span.head, sums);
    for (int column = span.first + 1; column < span.last; ++column) {
        add_column(picture, column, rows[y], span.inner, sums);
    }
    if (span.tail > 0.0f) add_column(picture, span.last, rows[y], span.tail, sums);
    for (int c = 0; c < 3; ++c) rgb[c] = to_grey(sums[c]);
}

}  // namespace edgeface::kernels
