#include "edgeface/artifact.h"

#include <sys/utsname.h>

#include <algorithm>
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <vector>

#include "edgeface/error.h"
#include "onnx_metadata.h"
#include "sha256.h"

namespace edgeface {
namespace {

constexpr std::uint64_t kSchemaVersion = 1;
constexpr std::size_t kBlock = 64, kShortestKey = 32, kLongestKey = 4096;
using Json = nlohmann::json;

std::string passport_path(const std::string& path) { return path + ".passport.json"; }

std::string read_file(const std::string& path, const std::string& what) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw Error(EDGEFACE_BAD_MODEL, "cannot read " + what + " `" + path + "`");
    return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// Hex HMAC-SHA256 (RFC 2104).
std::string hmac(std::string key, const std::string& text) {
    const auto digest = [](const std::string& bytes) {
        Sha256 sum;
        sum.add(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
        return sum.hex();
    };
    const auto raw = [](const std::string& hex) {
        std::string bytes;
        for (std::size_t k = 0; k < hex.size(); k += 2) {
            bytes.push_back(static_cast<char>(std::stoi(hex.substr(k, 2), nullptr, 16)));
        }
        return bytes;
    };
    if (key.size() > kBlock) key = raw(digest(key));
    key.resize(kBlock, '\0');
    std::string inner = key, outer = key;
    for (char& byte : inner) byte = static_cast<char>(byte ^ 0x36);
    for (char& byte : outer) byte = static_cast<char>(byte ^ 0x5c);
    return digest(outer + raw(digest(inner + text)));
}

// The passport's bytes against its signature, where $EDGEFACE_PASSPORT_KEY names a key: `edgeface.spec.signature`.
void check_signature(const std::string& where, const std::string& text) {
    const char* path = std::getenv("EDGEFACE_PASSPORT_KEY");
    if (path == nullptr || *path == '\0') return;
    const std::string key = read_file(path, "the key that $EDGEFACE_PASSPORT_KEY names");
    if (key.size() < kShortestKey || key.size() > kLongestKey) {
        throw Error(EDGEFACE_BAD_MODEL, std::string("the key `") + path + "`: expected 32 to 4096 bytes");
    }
    const std::string found = read_file(where + ".hmac", "the signature");
    const std::string wanted = hmac(key, text);
    unsigned different = found.size() < wanted.size();
    for (std::size_t k = 0; k < std::min(found.size(), wanted.size()); ++k) {
        different |= static_cast<unsigned char>(found[k] ^ wanted[k]);
    }
    if (different) {
        throw Error(EDGEFACE_BAD_MODEL, "the signature of passport `" + where +
                                            "` is not of the key in $EDGEFACE_PASSPORT_KEY; build the engine again");
    }
}

bool exists(const std::string& path) { return std::ifstream(path).good(); }

Json read_passport(const std::string& path) {
    const std::string where = passport_path(path);
    if (!exists(where)) {
        throw Error(EDGEFACE_BAD_MODEL, "no passport at `" + where + "`, so nothing vouches for the engine `" + path +
                                            "`; build it with: edgeface build-engine");
    }
    const std::string text = read_file(where, "passport");
    Json raw = Json::parse(text, nullptr, false);
    if (!raw.is_object() || !raw.value("schema_version", Json()).is_number_unsigned() || raw["schema_version"] == 0) {
        throw Error(EDGEFACE_BAD_MODEL, "`" + where + "` is no passport: expected a JSON object with a schema_version");
    }
    check_signature(where, text);
    if (raw["schema_version"].get<std::uint64_t>() > kSchemaVersion) {
        throw Error(EDGEFACE_BAD_MODEL, "passport `" + where + "` has schema " + raw["schema_version"].dump() +
                                            ", this edgeface reads up to " + std::to_string(kSchemaVersion) +
                                            "; install a newer one");
    }
    return raw;
}

// `10.13.3.9` as numbers to compare; what is no number counts as 0.
std::vector<int> numbers(const std::string& version) {
    std::vector<int> parts{0};
    bool digits = true;
    for (const char letter : version) {
        if (letter == '.') {
            parts.push_back(0);
            digits = true;
        } else if (letter >= '0' && letter <= '9' && digits && parts.back() < 100'000'000) {
            parts.back() = 10 * parts.back() + (letter - '0');
        } else {
            parts.back() = 0;
            digits = false;
        }
    }
    return parts;
}

// Equal, or covered by what the engine was built to be compatible with.
bool fits(const std::string& name, const std::string& built, const std::string& here, const Json& recipe) {
    const std::string level = recipe.value("hardware_compatible", "none");
    if (name == "gpu") return built == here || level != "none";
    if (name == "compute_capability" && level == "ampere_plus") return numbers(here) >= std::vector<int>{8, 0};
    if (name != "tensorrt") return built == here;
    if (recipe.value("version_compatible", false)) return numbers(here) >= numbers(built);
    return built == here || here.rfind(built + ".", 0) == 0;  // some packages leave out the build number
}

// The command that builds an engine again, where it is one of ours: a passport of others could name any.
std::string rebuild(const std::string& command) {
    const std::string ours = "edgeface build-engine";
    const auto plain = [](unsigned char letter) {
        return std::isalnum(letter) || std::string(" ./=:,@+'~_-").find(static_cast<char>(letter)) != std::string::npos;
    };
    const bool fits = command.rfind(ours + " ", 0) == 0 && std::all_of(command.begin(), command.end(), plain);
    return fits ? command : ours;
}

void check_bytes(const std::string& path, const std::string& expected, const std::string& command) {
    const std::string found = sha256_file(path);
    if (found == expected) return;
    throw Error(EDGEFACE_BAD_MODEL, "engine `" + path + "` is not the one of its passport: sha256 expected " +
                                        expected.substr(0, 16) + "…, found " + found.substr(0, 16) +
                                        "…; build it again: " + command);
}

void check_machine(const std::string& path, const Json& passport, const Identity& here, const std::string& command) {
    const Json recipe = passport.value("recipe", Json::object());
    for (const auto& [name, value] : passport.at("machine").items()) {
        const std::string built = value;
        const auto found = here.find(name);
        const std::string now = found == here.end() ? "none" : found->second;
        if (fits(name, built, now, recipe)) continue;
        throw Error(EDGEFACE_BAD_MODEL, "engine `" + path + "` was built for another machine: " + name + " is " +
                                            built + " in its passport, " + now + " here; build it again: " + command);
    }
}

}  // namespace

bool is_engine(const std::string& path) {
    const std::string suffix = ".engine";
    return path.size() > suffix.size() && path.compare(path.size() - suffix.size(), suffix.size(), suffix) == 0;
}

Metadata metadata(const std::string& path) {
    if (!is_engine(path)) return onnx_metadata(path);
    const Json passport = read_passport(path);
    try {
        return passport.at("metadata").get<Metadata>();
    } catch (const Json::exception&) {
        throw Error(EDGEFACE_BAD_MODEL, "`" + passport_path(path) + "` is no passport, build the engine again");
    }
}

std::string sha256_file(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    if (!file) throw Error(EDGEFACE_BAD_MODEL, "cannot read model `" + path + "`");
    Sha256 digest;
    std::vector<char> block(1 << 20);
    do {
        file.read(block.data(), static_cast<std::streamsize>(block.size()));
        digest.add(reinterpret_cast<const std::uint8_t*>(block.data()), static_cast<std::size_t>(file.gcount()));
    } while (file);
    if (file.bad()) throw Error(EDGEFACE_BAD_MODEL, "cannot read model `" + path + "`");
    return digest.hex();
}

Passport check_passport(const std::string& path, const Identity& here) {
    if (!is_engine(path) && !exists(passport_path(path))) return {};
    const Json passport = read_passport(path);
    try {
        const std::string command = rebuild(passport.at("command"));
        check_bytes(path, passport.at("engine_sha256"), command);
        check_machine(path, passport, here, command);
        return {passport.value("recipe", Json::object()).value("version_compatible", false), command};
    } catch (const Json::exception&) {
        throw Error(EDGEFACE_BAD_MODEL, "passport `" + passport_path(path) + "` is incomplete, build the engine again");
    }
}

Identity cpu_identity() {
    utsname names{};
    uname(&names);
    return {{"architecture", names.machine}};
}

}  // namespace edgeface
