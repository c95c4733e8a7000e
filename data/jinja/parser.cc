#include "data/jinja/parser.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/jinja/expression_parser.h"

namespace lockstep::data::jinja {

namespace {

ExprPtr CloneTarget(const Expr& target) {
  auto out = std::make_unique<Expr>();
  out->kind = target.kind;
  out->line = target.line;
  out->name = target.name;
  out->constant = target.constant;
  for (const ExprPtr& part : target.operands) out->operands.push_back(CloneTarget(*part));
  return out;
}

bool Stores(const Expr& target, absl::string_view name) {
  if (target.kind == Expr::kName) return target.name == name;
  return std::any_of(target.operands.begin(), target.operands.end(),
                     [&](const ExprPtr& part) { return Stores(*part, name); });
}

class Parser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Module Run() {
    Module module;
    module.body = ParseBody({});
    module.has_generation = has_generation_;
    return module;
  }

 private:
  using Names = std::vector<absl::string_view>;

  static StmtPtr MakeStmt(Stmt::Kind kind, int line) {
    auto out = std::make_unique<Stmt>();
    out->kind = kind;
    out->line = line;
    return out;
  }

  // Statements up to a block that begins with one of `ends`, which becomes the current token.
  Body ParseBody(const Names& ends) {
    const Nesting nesting(*this);
    Body out;
    while (Current().kind != Token::kEnd) {
      const int line = Current().line;
      if (Current().kind == Token::kData) {
        StmtPtr text = MakeStmt(Stmt::kText, line);
        text->text = Take().text;
        out.push_back(std::move(text));
      } else if (Current().kind == Token::kVariableBegin) {
        Take();
        StmtPtr output = MakeStmt(Stmt::kOutput, line);
        output->expression = ParseTuple();
        Expect(Token::kVariableEnd, "end of print statement");
        out.push_back(std::move(output));
      } else {
        Expect(Token::kBlockBegin, "begin of statement block");
        if (Current().kind == Token::kName &&
            std::find(ends.begin(), ends.end(), Current().text) != ends.end()) {
          return out;
        }
        out.push_back(ParseStatement(ends));
        Expect(Token::kBlockEnd, "end of statement block");
      }
    }
    if (!ends.empty()) {
      Fail(absl::StrCat("Unexpected end of template. Looking for the tags '",
                        absl::StrJoin(ends, "' or '"), "'."));
    }
    return out;
  }

  // The rest of the block at hand, and the statements behind it; takes the end's name if it is
  // the only one.
  Body ParseBlock(const Names& ends) {
    SkipOperator(":");
    Expect(Token::kBlockEnd, "end of statement block");
    Body body = ParseBody(ends);
    if (ends.size() == 1) Take();
    return body;
  }

  StmtPtr ParseStatement(const Names& ends) {
    if (Current().kind != Token::kName) Fail("tag name expected");
    const Token tag = Take();
    const std::string& name = tag.text;
    const int line = tag.line;
    if (name == "if") return ParseIf(line);
    if (name == "for") return ParseFor(line);
    if (name == "set") return ParseSet(line);
    if (name == "macro") return ParseMacro(line);
    if (name == "call") return ParseCallBlock(line);
    if (name == "generation") return ParseGeneration(line);
    if (name == "filter") return ParseFilterBlock(line);
    if (name == "with") return ParseWith(line);
    if (name == "block") return ParseBlockTag(line);
    if (name == "print") return ParsePrint(line);
    if (name == "break" || name == "continue") {
      if (loops_ == 0) Fail(absl::StrCat("'", name, "' outside loop"), line);
      return MakeStmt(name == "break" ? Stmt::kBreak : Stmt::kContinue, line);
    }
    if (name == "include" || name == "import" || name == "from" || name == "extends") {
      return ParseLoading(line, name);
    }
    std::string message = absl::StrCat("Encountered unknown tag '", name, "'.");
    if (!ends.empty()) {
      absl::StrAppend(&message, " Looking for the tags '", absl::StrJoin(ends, "' or '"), "'.");
    }
    Fail(message, line);
  }

  StmtPtr ParseIf(int line) {
    StmtPtr out = MakeStmt(Stmt::kIf, line);
    while (true) {
      ExprPtr condition = ParseTuple(/*with_condition=*/false);
      Body body = ParseBlock({"elif", "else", "endif"});
      out->branches.emplace_back(std::move(condition), std::move(body));
      const std::string tag = Take().text;
      if (tag == "elif") continue;
      if (tag == "else") out->branches.emplace_back(nullptr, ParseBlock({"endif"}));
      return out;
    }
  }

  StmtPtr ParseFor(int line) {
    StmtPtr out = MakeStmt(Stmt::kFor, line);
    out->target = ParseTarget("in", /*with_namespace=*/false);
    if (Stores(*out->target, "loop")) {
      Fail("Can't assign to special loop variable in for-loop target", line);
    }
    ExpectName("in");
    out->expression = ParseTuple(/*with_condition=*/false, "recursive");
    if (SkipName("if")) {
      out->test = ParseExpression();
      out->test_target = CloneTarget(*out->target);
    }
    out->recursive = SkipName("recursive");
    ++loops_;
    out->body = ParseBlock({"endfor", "else"});
    --loops_;
    if (Take().text == "else") out->otherwise = ParseBlock({"endfor"});
    return out;
  }

  StmtPtr ParseSet(int line) {
    StmtPtr out = MakeStmt(Stmt::kSet, line);
    out->target = ParseTarget("", /*with_namespace=*/true);
    if (SkipOperator("=")) {
      out->expression = ParseTuple();
      return out;
    }
    out->kind = Stmt::kSetBlock;
    out->filter = ParseFilters(nullptr, /*start_inline=*/false);
    out->body = ParseBlock({"endset"});
    return out;
  }

  void ParseSignature(Function* function) {
    ExpectOperator("(");
    while (!IsOperator(")")) {
      if (!function->parameters.empty()) ExpectOperator(",");
      ExprPtr parameter = ParseNameTarget();
      if (SkipOperator("=")) {
        function->defaults.push_back(ParseExpression());
      } else if (!function->defaults.empty()) {
        Fail("non-default argument follows default argument");
      }
      function->caller_is_parameter |= parameter->name == "caller";
      function->parameters.push_back(std::move(parameter));
    }
    Take();
  }

  // The body of a function; loops around it do not reach into it.
  void ParseFunctionBody(Function* function, absl::string_view end) {
    const MacroNames outside = std::exchange(macro_names_, {});
    const int loops = std::exchange(loops_, 0);
    function->body = ParseBlock({end});
    loops_ = loops;
    const auto is_parameter = [&](absl::string_view name) {
      return std::any_of(function->parameters.begin(), function->parameters.end(),
                         [&](const ExprPtr& parameter) { return parameter->name == name; });
    };
    function->uses_caller = macro_names_.caller;
    function->uses_kwargs = macro_names_.kwargs && !is_parameter("kwargs");
    function->uses_varargs = macro_names_.varargs && !is_parameter("varargs");
    if (function->uses_caller && function->caller_is_parameter) {
      const size_t required = function->parameters.size() - function->defaults.size();
      for (size_t i = 0; i < required; ++i) {
        if (function->parameters[i]->name != "caller") continue;
        Fail(
            "When defining macros or call blocks the special \"caller\" argument must be omitted "
            "or be given a default.");
      }
    }
    macro_names_.caller |= outside.caller;
    macro_names_.kwargs |= outside.kwargs;
    macro_names_.varargs |= outside.varargs;
  }

  StmtPtr ParseMacro(int line) {
    StmtPtr out = MakeStmt(Stmt::kMacro, line);
    out->target = ParseNameTarget();
    out->function = std::make_unique<Function>();
    out->function->name = out->target->name;
    ParseSignature(out->function.get());
    ParseFunctionBody(out->function.get(), "endmacro");
    return out;
  }

  StmtPtr ParseCallBlock(int line) {
    StmtPtr out = MakeStmt(Stmt::kCall, line);
    out->function = std::make_unique<Function>();
    if (IsOperator("(")) ParseSignature(out->function.get());
    out->expression = ParseExpression();
    if (out->expression->kind != Expr::kCall) Fail("expected call", line);
    ParseFunctionBody(out->function.get(), "endcall");
    return out;
  }

  StmtPtr ParseGeneration(int line) {
    has_generation_ = true;
    StmtPtr out = MakeStmt(Stmt::kGeneration, line);
    out->function = std::make_unique<Function>();
    ParseFunctionBody(out->function.get(), "endgeneration");
    return out;
  }

  StmtPtr ParseFilterBlock(int line) {
    StmtPtr out = MakeStmt(Stmt::kFilterBlock, line);
    out->filter = ParseFilters(nullptr, /*start_inline=*/true);
    out->body = ParseBlock({"endfilter"});
    return out;
  }

  StmtPtr ParseWith(int line) {
    StmtPtr out = MakeStmt(Stmt::kWith, line);
    while (Current().kind != Token::kBlockEnd) {
      if (!out->targets.empty()) ExpectOperator(",");
      out->targets.push_back(ParseTarget("", /*with_namespace=*/false));
      ExpectOperator("=");
      out->values.push_back(ParseExpression());
    }
    out->body = ParseBlock({"endwith"});
    return out;
  }

  StmtPtr ParseBlockTag(int line) {
    StmtPtr out = MakeStmt(Stmt::kBlock, line);
    const std::string name = ExpectAnyName();
    SkipName("scoped");
    SkipName("required");
    out->body = ParseBlock({"endblock"});
    SkipName(name);
    return out;
  }

  StmtPtr ParsePrint(int line) {
    StmtPtr out = MakeStmt(Stmt::kBlock, line);
    while (Current().kind != Token::kBlockEnd) {
      if (!out->body.empty()) ExpectOperator(",");
      StmtPtr output = MakeStmt(Stmt::kOutput, line);
      output->expression = ParseExpression();
      out->body.push_back(std::move(output));
    }
    return out;
  }

  // Tags that load other templates: an error when they are reached, as there is no loader.
  StmtPtr ParseLoading(int line, const std::string& tag) {
    StmtPtr out = MakeStmt(Stmt::kRaise, line);
    out->text = absl::StrCat("{% ", tag, " %}: a chat template cannot load another template");
    while (Current().kind != Token::kBlockEnd && Current().kind != Token::kEnd) Take();
    return out;
  }

  int loops_ = 0;
  bool has_generation_ = false;
};

}  // namespace

Module ParseModule(absl::string_view source) { return Parser(Tokenize(source)).Run(); }

}  // namespace lockstep::data::jinja
