// Age, gender and race of detected faces: align, run the network in batches.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "edgeface/analyzer.h"
#include "edgeface/engine.h"
#include "edgeface/spec.h"

namespace edgeface {

class AttributeEstimator {
public:
    // `engine` answers with the outputs that `heads_of(spec)` names.
    AttributeEstimator(std::unique_ptr<Engine> engine, ModelSpec spec);

    // The outputs to read: those that the spec names, as far as edgeface knows them. Throws `Error` if there are none.
    static std::vector<std::string> heads_of(const ModelSpec& spec);

    // Fill in the attributes of `faces`, row by row those of `found` in the frame that `frame` has loaded.
    void judge(Preprocessor& frame, const std::vector<kernels::Face>& found, std::vector<Face>& faces);

    const Engine& engine() const { return *engine_; }

private:
    void take(const HeadSpec& head, const Tensor& answer, std::size_t count, Face* faces) const;

    std::unique_ptr<Engine> engine_;
    ModelSpec spec_;
    std::vector<std::string> heads_;
    std::array<double, 10> target_{};
};

}  // namespace edgeface
