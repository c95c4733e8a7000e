# Counts the test cases of GoogleTest's and Bazel's XML reports:
#
#   cat REPORT.xml... | awk -f count_cases.awk      N passed, N failed, N skipped

# Records start behind each "<". What a test printed lies in CDATA and is not markup.
BEGIN { RS = "<" }

function finish() {
  if (in_case) count[state]++
  in_case = 0
}

in_text {
  if (/\]\]>/) in_text = 0
  next
}
/^!\[CDATA\[/ {
  in_text = !/\]\]>/
  next
}
/^testcase[ \n]/ {
  finish()
  in_case = 1
  state = /result="(skipped|suppressed)"/ ? "skipped" : "passed"
}
/^(failure|error)[ \/>]/ { state = "failed" }

END {
  finish()
  printf "%d passed, %d failed, %d skipped\n", count["passed"], count["failed"], count["skipped"]
}
