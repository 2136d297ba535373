// SHA-256 (FIPS 180-4), in pieces.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace edgeface {

class Sha256 {
public:
    void add(const std::uint8_t* bytes, std::size_t count);

    // The digest of everything added, as 64 hex digits; nothing can be added afterwards.
    std::string hex();

private:
    void mix_block();

    std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                        0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
    std::array<std::uint8_t, 64> block_{};
    std::size_t filled_ = 0;
    std::uint64_t total_bytes_ = 0;
};

}  // namespace edgeface
