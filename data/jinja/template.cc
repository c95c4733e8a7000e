#include "data/jinja/template.h"

#include "absl/strings/str_cat.h"
#include "base/status.h"
#include "data/jinja/interpreter.h"
#include "data/jinja/parser.h"
#include "data/jinja/scope.h"

namespace lockstep::data::jinja {

namespace {

absl::Status ErrorOf(const TemplateError& error, const std::string& name) {
  return UserError(error.line > 0 ? absl::StrCat(name, " line ", error.line) : name, error.what());
}

}  // namespace

absl::StatusOr<Template> Template::Parse(absl::string_view source, absl::string_view name) {
  Template out;
  out.name_ = std::string(name);
  try {
    auto module = std::make_shared<Module>(ParseModule(source));
    ResolveNames(module.get());
    out.module_ = std::move(module);
  } catch (const TemplateError& error) {
    return ErrorOf(error, out.name_);
  }
  return out;
}

absl::StatusOr<Rendered> Template::Render(const Value& variables,
                                          const RenderOptions& options) const {
  try {
    return Interpreter(*module_, variables, options).Run();
  } catch (const TemplateError& error) {
    return ErrorOf(error, name_);
  }
}

bool Template::has_generation() const { return module_->has_generation; }

}  // namespace lockstep::data::jinja
