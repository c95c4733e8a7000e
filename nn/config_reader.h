// Reads the fields of one JSON object and keeps account of them: every problem is collected, and a
// field that nobody asked for is one.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "nlohmann/json.hpp"

namespace lockstep::nn {

class ConfigReader {
 public:
  // `path` is the object's own place in the file, "" or "text_config.".
  ConfigReader(absl::string_view where, const nlohmann::json& object, std::string path = "");

  // The field, or `missing` where it is absent or null. A wrong type or range is a problem.
  int64_t Int(const char* name, int64_t missing, int64_t least = 1);
  double Number(const char* name, double missing);
  double Positive(const char* name, double missing);
  bool Bool(const char* name, bool missing);
  std::string String(const char* name, absl::string_view missing);
  std::vector<double> Numbers(const char* name);
  std::vector<std::string> Strings(const char* name);
  std::vector<int64_t> IntOrList(const char* name);
  // The object in a field; nullptr where it is absent or null.
  const nlohmann::json* Object(const char* name);

  bool Has(const char* name) const;                                       // there, and not null
  bool HasKey(const char* name) const { return object_.contains(name); }  // there, maybe null

  // The field may be anything: it has no influence here.
  void Ignore(std::initializer_list<const char*> names);
  // The field must be absent, null or `neutral`; otherwise it is named as unsupported.
  void Want(const char* name, const nlohmann::json& neutral, absl::string_view hint = "");

  void Problem(absl::string_view field, absl::string_view problem);
  void Append(const ConfigReader& nested);  // its problems

  // Fields that nobody asked for are problems now, unless they are known to change nothing in any
  // model, or say nothing (null, false, "", empty).
  void RefuseUnknown();

  // The fields that nobody asked for and that say something.
  std::vector<std::string> Unknown() const;

  absl::Status status() const;
  const std::string& where() const { return where_; }
  const std::string& path() const { return path_; }

 private:
  const nlohmann::json* Find(const char* name);
  void WrongType(const char* name, absl::string_view wanted, const nlohmann::json& got);

  std::string where_;
  std::string path_;
  const nlohmann::json& object_;
  absl::flat_hash_set<std::string> known_;
  std::vector<std::string> problems_;
};

// A value as a message shows it, cut to a line.
std::string Shown(const nlohmann::json& value);

}  // namespace lockstep::nn
