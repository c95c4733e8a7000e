// Names to slots, by Jinja's static scoping.
//
// Loops, macros, call, generation, filter, with and set blocks open a scope; `if` does not. What a
// scope assigns stays in it: at its entry such a variable has the value of the outer scope's
// variable of that name (an alias), or of the render variable if no scope around it has one, or is
// missing if the first use is an assignment. A macro sees the variables of the scopes around its
// definition as they are when it runs. (The rules are those of jinja2's idtracking.)
#pragma once

#include "data/jinja/ast.h"

namespace lockstep::data::jinja {

void ResolveNames(Module* module);

}  // namespace lockstep::data::jinja
