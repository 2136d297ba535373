// Everything that goes wrong is an `Error`: one sentence that says what, where, what was expected and what to do next.
#pragma once

#include <stdexcept>
#include <string>

#include "edgeface/edgeface_c.h"

namespace edgeface {

class EDGEFACE_API Error : public std::runtime_error {
public:
    Error(edgeface_status status, const std::string& sentence) : std::runtime_error(sentence), status_(status) {}

    edgeface_status status() const noexcept { return status_; }

private:
    edgeface_status status_;
};

}  // namespace edgeface
