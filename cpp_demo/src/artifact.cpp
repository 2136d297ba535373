#include "edgeface/artifact.h"

#include <sys/utsname.h>

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <vector>

#include "edgeface/error.h"
#include "onnx_metadata.h"
#include "sha256.h"

namespace edgeface {
namespace {

constexpr int kSchemaVersion = 1;
using Json = nlohmann::json;

std::string passport_path(const std::string& path) { return path + ".passport.json"; }

bool exists(const std::string& path) { return std::ifstream(path).good(); }

Json read_passport(const std::string& path) {
    const std::string where = passport_path(path);
    std::ifstream file(where);
    if (!file) {
        throw Error(EDGEFACE_BAD_MODEL, "no passport at `" + where + "`, so nothing vouches for the engine `" + path +
                                            "`; build it with: edgeface build-engine");
    }
    Json raw = Json::parse(file, nullptr, false);
    if (!raw.is_object() || !raw.value("schema_version", Json()).is_number_integer()) {
        throw Error(EDGEFACE_BAD_MODEL, "`" + where + "` is no passport: expected a JSON object with a schema_version");
    }
    const int version = raw["schema_version"];
    if (version > kSchemaVersion) {
        throw Error(EDGEFACE_BAD_MODEL, "passport `" + where + "` has schema " + std::to_string(version) +
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
        const std::string command = passport.at("command");
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
