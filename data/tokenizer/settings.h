// A JSON value together with its place in the file, so that every complaint can name it:
//
//   [model/tokenizer.json: pre_tokenizer.pretokenizers[1].type] "X" is not supported
#pragma once

#include <simdjson.h>

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace lockstep::data {

class Settings {
 public:
  // The root of a file. The document that `value` belongs to must outlive the object.
  Settings(absl::string_view file, simdjson::dom::element value)
      : place_(std::string(file) + ":"), value_(value) {}

  absl::Status Error(absl::string_view problem, absl::string_view hint = "") const;

  bool IsString() const { return value_.is_string(); }
  bool IsObject() const { return value_.is_object(); }
  simdjson::dom::element value() const { return value_; }

  // A key's value; none if the key is missing or its value is null. Error: not an object.
  absl::StatusOr<std::optional<Settings>> Find(absl::string_view key) const;
  // The same, where it must be there.
  absl::StatusOr<Settings> Get(absl::string_view key) const;
  absl::StatusOr<std::vector<Settings>> Elements() const;  // of a list
  // The members of an object in order; a key that comes twice counts as often.
  absl::StatusOr<std::vector<std::pair<std::string, Settings>>> Members() const;

  absl::StatusOr<std::string> String() const;
  absl::StatusOr<bool> Bool() const;
  absl::StatusOr<int64_t> Int() const;  // not negative

  // Shorthands for members.
  absl::StatusOr<std::string> String(absl::string_view key) const;
  absl::StatusOr<bool> Bool(absl::string_view key, bool otherwise) const;
  // A string of exactly one character.
  absl::StatusOr<char32_t> Character(absl::string_view key) const;

 private:
  Settings(std::string place, simdjson::dom::element value, int)
      : place_(std::move(place)), value_(value) {}
  Settings Member(absl::string_view key, simdjson::dom::element value) const;
  absl::Status Want(absl::string_view wanted) const;

  std::string place_;  // "file:" and, below the root, " key.key[3].key"
  simdjson::dom::element value_;
};

}  // namespace lockstep::data
