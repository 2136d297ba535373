#include "onnx_metadata.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <optional>
#include <string_view>
#include <vector>

#include "edgeface/error.h"

namespace edgeface {
namespace {

constexpr std::uint64_t kMetadataProps = 14;  // field number in onnx.proto's ModelProto

struct Malformed {};

// A protobuf message, walked field by field; only length-delimited fields are of interest here.
class Message {
public:
    explicit Message(std::string_view bytes) : bytes_(bytes) {}

    // The next field with this number, or nothing at the message's end. Throws `Malformed`.
    std::optional<std::string_view> next(std::uint64_t wanted) {
        while (at_ < bytes_.size()) {
            const std::uint64_t key = varint();
            const std::uint64_t number = key >> 3;
            const std::optional<std::string_view> value = skip(key & 7);
            if (number == 0) throw Malformed();
            if (value && number == wanted) return value;
        }
        return std::nullopt;
    }

private:
    std::uint64_t varint() {
        std::uint64_t value = 0;
        for (int shift = 0; shift < 64; shift += 7) {
            if (at_ >= bytes_.size()) throw Malformed();
            const auto byte = static_cast<std::uint8_t>(bytes_[at_++]);
            value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
            if (byte < 0x80) return value;
        }
        throw Malformed();
    }

    // Step over a value of this wire type; a length-delimited one is returned.
    std::optional<std::string_view> skip(std::uint64_t wire) {
        std::uint64_t length = 0;
        if (wire == 0) {
            varint();
            return std::nullopt;
        }
        if (wire == 1) length = 8;
        if (wire == 2) length = varint();
        if (wire == 5) length = 4;
        if ((wire != 1 && wire != 2 && wire != 5) || length > bytes_.size() - at_) throw Malformed();
        const std::string_view value = bytes_.substr(at_, length);
        at_ += length;
        return wire == 2 ? std::optional<std::string_view>(value) : std::nullopt;
    }

    std::string_view bytes_;
    std::size_t at_ = 0;
};

std::string text_of(std::string_view entry, std::uint64_t number) {
    return std::string(Message(entry).next(number).value_or(std::string_view()));
}

std::string read_whole(const std::string& path) {
    struct stat facts {};
    std::ifstream file(path, std::ios::binary);
    if (!file || stat(path.c_str(), &facts) != 0) {
        throw Error(EDGEFACE_BAD_MODEL, "cannot read model `" + path + "`: " + std::strerror(errno));
    }
    if (!S_ISREG(facts.st_mode)) throw Error(EDGEFACE_BAD_MODEL, "cannot read model `" + path + "`: it is no file");
    std::string bytes(static_cast<std::size_t>(facts.st_size), '\0');
    file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (file.gcount() != static_cast<std::streamsize>(bytes.size())) {
        throw Error(EDGEFACE_BAD_MODEL, "cannot read model `" + path + "`: it ended early");
    }
    return bytes;
}

}  // namespace

Metadata onnx_metadata(const std::string& path) {
    const std::string bytes = read_whole(path);
    if (bytes.empty()) throw Error(EDGEFACE_BAD_MODEL, "`" + path + "` is empty, expected an ONNX model");
    try {
        Metadata found;
        Message model(bytes);
        while (const std::optional<std::string_view> entry = model.next(kMetadataProps)) {
            found[text_of(*entry, 1)] = text_of(*entry, 2);
        }
        return found;
    } catch (const Malformed&) {
        throw Error(EDGEFACE_BAD_MODEL, "`" + path + "` is not an ONNX model or is damaged; copy or export it again");
    }
}

}  // namespace edgeface
