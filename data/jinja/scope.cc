#include "data/jinja/scope.h"

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"

namespace lockstep::data::jinja {

namespace {

// What shares one frame of slots: the module, a macro, a call block's body, a recursive loop.
struct FrameLayout {
  int depth = 0;
  int num_slots = 0;
};

struct Variable {
  FrameLayout* layout = nullptr;
  int index = -1;
  bool operator<(const Variable& other) const {
    return std::tie(layout, index) < std::tie(other.layout, other.index);
  }
};

class Scope {
 public:
  Scope(const Scope* parent, FrameLayout* layout) : parent_(parent), layout_(layout) {}

  FrameLayout* layout() const { return layout_; }

  const Variable* Find(const std::string& name) const {
    const auto found = variables_.find(name);
    if (found != variables_.end()) return &found->second;
    return parent_ != nullptr ? parent_->Find(name) : nullptr;
  }

  void Load(const std::string& name) {
    if (Find(name) == nullptr) Define(name, {ScopeEntry::Load::kGlobal, nullptr});
  }

  void Store(const std::string& name) {
    stores_.insert(name);
    if (variables_.count(name) > 0) return;
    const Variable* outer = parent_ != nullptr ? parent_->Find(name) : nullptr;
    Define(name, {outer != nullptr ? ScopeEntry::Load::kAlias : ScopeEntry::Load::kMissing, outer});
  }

  int DeclareParameter(const std::string& name) {
    stores_.insert(name);
    const Variable variable = Allocate(name);
    entries_.erase(variable);
    return variable.index;
  }

  // After the branches of an `if`, each a copy of this scope that has seen one branch: what only
  // some of them assign has its outer value where they are not taken.
  void Merge(const std::vector<Scope>& branches) {
    std::set<std::string> assigned;
    for (const Scope& branch : branches) {
      for (const std::string& name : branch.stores_) {
        if (stores_.count(name) == 0) assigned.insert(name);
      }
    }
    for (const Scope& branch : branches) {
      for (const auto& [name, variable] : branch.variables_) variables_[name] = variable;
      for (const auto& [variable, entry] : branch.entries_) entries_[variable] = entry;
      stores_.insert(branch.stores_.begin(), branch.stores_.end());
    }
    for (const std::string& name : assigned) {
      const Variable* outer = parent_ != nullptr ? parent_->Find(name) : nullptr;
      entries_[*Find(name)] = {
          name, outer != nullptr ? ScopeEntry::Load::kAlias : ScopeEntry::Load::kGlobal, outer};
    }
  }

  Slot SlotOf(const Variable& variable) const {
    return {layout_->depth - variable.layout->depth, variable.index};
  }

  ScopeEntry Entry() const {
    ScopeEntry out;
    for (const auto& [variable, entry] : entries_) {
      out.loads.push_back({entry.kind, variable.index, entry.name,
                           entry.outer != nullptr ? SlotOf(*entry.outer) : Slot()});
    }
    return out;
  }

 private:
  struct EntryLoad {
    std::string name;
    ScopeEntry::Load::Kind kind;
    const Variable* outer;
  };

  Variable Allocate(const std::string& name) {
    const auto [at, fresh] = slots_->try_emplace(name, layout_->num_slots);
    if (fresh) ++layout_->num_slots;
    return variables_[name] = {layout_, at->second};
  }
  void Define(const std::string& name, std::pair<ScopeEntry::Load::Kind, const Variable*> load) {
    entries_[Allocate(name)] = {name, load.first, load.second};
  }

  const Scope* parent_;
  FrameLayout* layout_;
  std::map<std::string, Variable> variables_;
  std::map<Variable, EntryLoad> entries_;
  std::set<std::string> stores_;
  // Copies of a scope, for branches, give a name the same slot.
  std::shared_ptr<std::map<std::string, int>> slots_ =
      std::make_shared<std::map<std::string, int>>();
};

void ForEachChild(const Expr& expr, const std::function<void(Expr&)>& visit) {
  const auto child = [&](const ExprPtr& node) {
    if (node) visit(*node);
  };
  for (const ExprPtr& node : expr.operands) child(node);
  for (const ExprPtr& node : expr.call.positional) child(node);
  for (const auto& [name, node] : expr.call.keyword) child(node);
  child(expr.call.starred);
  child(expr.call.double_starred);
}

// First pass over one scope: which names it loads and stores, in order. Stops at inner scopes.
void Use(const Expr& expr, Scope* scope) {
  if (expr.kind == Expr::kName || expr.kind == Expr::kNamespaceAttribute) scope->Load(expr.name);
  ForEachChild(expr, [&](Expr& child) { Use(child, scope); });
}
void UseIf(const ExprPtr& expr, Scope* scope) {
  if (expr) Use(*expr, scope);
}

void StoreTarget(const Expr& target, Scope* scope) {
  if (target.kind == Expr::kName) scope->Store(target.name);
  if (target.kind == Expr::kNamespaceAttribute) scope->Load(target.name);
  for (const ExprPtr& part : target.operands) StoreTarget(*part, scope);
}

void DeclareTarget(const Expr& target, Scope* scope) {
  if (target.kind == Expr::kName) scope->DeclareParameter(target.name);
  for (const ExprPtr& part : target.operands) DeclareTarget(*part, scope);
}

void Analyze(const Body& body, Scope* scope);

void AnalyzeIf(const Stmt& stmt, Scope* scope) {
  const auto& branches = stmt.branches;
  Use(*branches[0].first, scope);
  Scope first = *scope, middle = *scope, last = *scope;
  Analyze(branches[0].second, &first);
  for (size_t i = 1; i < branches.size(); ++i) {
    if (branches[i].first == nullptr) {
      Analyze(branches[i].second, &last);
      continue;
    }
    Use(*branches[i].first, &middle);
    Scope taken = middle;
    Analyze(branches[i].second, &taken);
    middle.Merge({taken});
  }
  scope->Merge({first, middle, last});
}

void Analyze(const Body& body, Scope* scope) {
  for (const StmtPtr& stmt : body) {
    switch (stmt->kind) {
      case Stmt::kOutput:
      case Stmt::kCall:
        Use(*stmt->expression, scope);
        break;
      case Stmt::kIf:
        AnalyzeIf(*stmt, scope);
        break;
      case Stmt::kFor:
        Use(*stmt->expression, scope);
        break;
      case Stmt::kSet:
        Use(*stmt->expression, scope);
        StoreTarget(*stmt->target, scope);
        break;
      case Stmt::kSetBlock:
      case Stmt::kMacro:
        StoreTarget(*stmt->target, scope);
        break;
      case Stmt::kFilterBlock:
        Use(*stmt->filter, scope);
        break;
      case Stmt::kWith:
        for (const ExprPtr& value : stmt->values) Use(*value, scope);
        break;
      default:
        break;
    }
  }
}

// Second pass: gives names their slots, and opens the inner scopes.
class Resolver {
 public:
  void Run(Module* module) {
    FrameLayout layout;
    Scope scope(nullptr, &layout);
    Analyze(module->body, &scope);
    module->scope = scope.Entry();
    ResolveBody(&module->body, scope);
    module->num_slots = layout.num_slots;
  }

 private:
  void ResolveExpr(Expr* expr, const Scope& scope) {
    if (expr == nullptr) return;
    if (expr->kind == Expr::kName || expr->kind == Expr::kNamespaceAttribute) {
      const Variable* variable = scope.Find(expr->name);
      CHECK(variable != nullptr) << expr->name;
      expr->slot = scope.SlotOf(*variable);
      used_.insert(*variable);
    }
    ForEachChild(*expr, [&](Expr& child) { ResolveExpr(&child, scope); });
  }

  void ResolveBody(Body* body, const Scope& scope) {
    for (const StmtPtr& stmt : *body) ResolveStmt(stmt.get(), scope);
  }

  void ResolveStmt(Stmt* stmt, const Scope& scope) {
    switch (stmt->kind) {
      case Stmt::kIf:
        for (auto& [condition, body] : stmt->branches) {
          ResolveExpr(condition.get(), scope);
          ResolveBody(&body, scope);
        }
        return;
      case Stmt::kFor:
        return ResolveFor(stmt, scope);
      case Stmt::kMacro:
      case Stmt::kCall:
      case Stmt::kGeneration:
        ResolveExpr(stmt->target.get(), scope);
        ResolveExpr(stmt->expression.get(), scope);
        return ResolveFunction(stmt->function.get(), scope);
      case Stmt::kSetBlock:
      case Stmt::kFilterBlock:
      case Stmt::kBlock: {
        ResolveExpr(stmt->target.get(), scope);
        Scope inner(&scope, scope.layout());
        Analyze(stmt->body, &inner);
        UseIf(stmt->filter, &inner);
        stmt->scope = inner.Entry();
        ResolveExpr(stmt->filter.get(), inner);
        return ResolveBody(&stmt->body, inner);
      }
      case Stmt::kWith: {
        Scope inner(&scope, scope.layout());
        for (const ExprPtr& target : stmt->targets) DeclareTarget(*target, &inner);
        Analyze(stmt->body, &inner);
        stmt->scope = inner.Entry();
        for (const ExprPtr& value : stmt->values) ResolveExpr(value.get(), scope);
        for (const ExprPtr& target : stmt->targets) ResolveExpr(target.get(), inner);
        return ResolveBody(&stmt->body, inner);
      }
      default:
        ResolveExpr(stmt->target.get(), scope);
        ResolveExpr(stmt->expression.get(), scope);
    }
  }

  void ResolveFor(Stmt* stmt, const Scope& outer) {
    ResolveExpr(stmt->expression.get(), outer);
    FrameLayout own{outer.layout()->depth + 1, 0};
    FrameLayout* layout = stmt->recursive ? &own : outer.layout();
    if (stmt->test) {
      Scope scope(&outer, layout);
      DeclareTarget(*stmt->test_target, &scope);
      Use(*stmt->test, &scope);
      stmt->test_scope = scope.Entry();
      ResolveExpr(stmt->test_target.get(), scope);
      ResolveExpr(stmt->test.get(), scope);
    }
    Scope scope(&outer, layout);
    const int loop = scope.DeclareParameter("loop");
    DeclareTarget(*stmt->target, &scope);
    Analyze(stmt->body, &scope);
    stmt->scope = scope.Entry();
    ResolveExpr(stmt->target.get(), scope);
    ResolveBody(&stmt->body, scope);
    if (used_.count({layout, loop}) > 0) stmt->loop_slot = loop;

    Scope otherwise(&outer, layout);
    Analyze(stmt->otherwise, &otherwise);
    stmt->otherwise_scope = otherwise.Entry();
    ResolveBody(&stmt->otherwise, otherwise);
    stmt->num_slots = own.num_slots;
    Forget(&own);
  }

  void ResolveFunction(Function* function, const Scope& outer) {
    FrameLayout layout{outer.layout()->depth + 1, 0};
    Scope scope(&outer, &layout);
    for (const ExprPtr& parameter : function->parameters) {
      scope.DeclareParameter(parameter->name);
    }
    if (function->uses_caller && !function->caller_is_parameter) {
      function->caller_slot = scope.DeclareParameter("caller");
    }
    if (function->uses_kwargs) function->kwargs_slot = scope.DeclareParameter("kwargs");
    if (function->uses_varargs) function->varargs_slot = scope.DeclareParameter("varargs");
    for (const ExprPtr& value : function->defaults) Use(*value, &scope);
    Analyze(function->body, &scope);
    function->scope = scope.Entry();
    for (const ExprPtr& parameter : function->parameters) ResolveExpr(parameter.get(), scope);
    for (const ExprPtr& value : function->defaults) ResolveExpr(value.get(), scope);
    ResolveBody(&function->body, scope);
    function->num_slots = layout.num_slots;
    Forget(&layout);
  }

  // A layout's address may be taken by another one later.
  void Forget(FrameLayout* layout) {
    for (auto at = used_.begin(); at != used_.end();) {
      at = at->layout == layout ? used_.erase(at) : std::next(at);
    }
  }

  std::set<Variable> used_;
};

}  // namespace

void ResolveNames(Module* module) { Resolver().Run(module); }

}  // namespace lockstep::data::jinja
