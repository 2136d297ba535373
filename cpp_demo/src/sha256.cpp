#include "sha256.h"

#include <algorithm>

namespace edgeface {
namespace {

// The first 32 bits of the fractional parts of the cube roots of the first 64 primes.
constexpr std::array<std::uint32_t, 64> kRounds{
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

std::uint32_t turned(std::uint32_t value, int bits) { return value >> bits | value << (32 - bits); }

}  // namespace

void Sha256::add(const std::uint8_t* bytes, std::size_t count) {
    total_bytes_ += count;
    while (count > 0) {
        const std::size_t part = std::min(count, block_.size() - filled_);
        std::copy(bytes, bytes + part, block_.begin() + static_cast<std::ptrdiff_t>(filled_));
        filled_ += part;
        bytes += part;
        count -= part;
        if (filled_ == block_.size()) mix_block();
    }
}

std::string Sha256::hex() {
    const std::uint64_t bits = 8 * total_bytes_;
    const std::uint8_t end = 0x80, zero = 0;
    add(&end, 1);
    while (filled_ != 56) add(&zero, 1);
    for (int shift = 56; shift >= 0; shift -= 8) {
        const auto byte = static_cast<std::uint8_t>(bits >> shift);
        add(&byte, 1);
    }
    std::string text;
    for (const std::uint32_t word : state_) {
        for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[word >> shift & 15];
    }
    return text;
}

void Sha256::mix_block() {
    std::array<std::uint32_t, 64> words{};
    for (std::size_t k = 0; k < 16; ++k) {
        for (std::size_t byte = 0; byte < 4; ++byte) words[k] = words[k] << 8 | block_[4 * k + byte];
    }
    for (std::size_t k = 16; k < 64; ++k) {
        const std::uint32_t a = words[k - 15], b = words[k - 2];
        words[k] = words[k - 16] + (turned(a, 7) ^ turned(a, 18) ^ a >> 3) + words[k - 7] +
                   (turned(b, 17) ^ turned(b, 19) ^ b >> 10);
    }
    auto [a, b, c, d, e, f, g, h] = state_;
    for (std::size_t k = 0; k < 64; ++k) {
        const std::uint32_t choice = (e & f) ^ (~e & g), majority = (a & b) ^ (a & c) ^ (b & c);
        const std::uint32_t first = h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + choice + kRounds[k] + words[k];
        const std::uint32_t second = (turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + majority;
        h = g, g = f, f = e, e = d + first, d = c, c = b, b = a, a = first + second;
    }
    const std::array<std::uint32_t, 8> mixed{a, b, c, d, e, f, g, h};
    for (std::size_t k = 0; k < 8; ++k) state_[k] += mixed[k];
    filled_ = 0;
}

}  // namespace edgeface
