// Telling the faces of a video apart: `edgeface/tracking/iou.py` in C++, with its settings.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "edgeface/edgeface_c.h"

namespace edgeface {

// Box x1, y1, x2, y2 in pixels.
using Box = std::array<double, 4>;

class EDGEFACE_API IouTracker {
public:
    // Track numbers of the next frame's faces, in their order, from 1 up; 0 for a face that is not confirmed yet.
    std::vector<std::int64_t> follow(const std::vector<Box>& boxes);

    // Numbers given so far.
    std::int64_t count() const { return count_; }

private:
    // One face followed: its last box and its velocity in pixels a frame.
    struct Track {
        Box box;
        std::array<double, 2> velocity{};
        int hits = 1;
        int missed = 0;
        std::int64_t number = 0;

        Box predicted() const;
        void move_to(const Box& place);
    };

    std::vector<int> match(const std::vector<Box>& boxes) const;
    double overlap(const Box& face, const Track& track) const;

    std::vector<Track> tracks_;
    bool first_frame_ = true;
    std::int64_t count_ = 0;
};

}  // namespace edgeface
