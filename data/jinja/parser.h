// Tokens to a tree, by Jinja's grammar with the extensions loopcontrols and generation.
#pragma once

#include "absl/strings/string_view.h"
#include "data/jinja/ast.h"

namespace lockstep::data::jinja {

// Throws TemplateError with the line. Names are not yet resolved (scope.h).
Module ParseModule(absl::string_view source);

}  // namespace lockstep::data::jinja
