#!/usr/bin/env python3
"""compare_counts.py must be able to fail: python3 benches/test_compare_counts.py"""

import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).with_name("compare_counts.py")
RECORD = "# compiler: a\nx86_64 avx2 matmul-q4 1x256x256 10000 0.15\nm4 scalar matmul-q4 1x256x256 50000 0.76\n"


class Compare(unittest.TestCase):
    def compare(self, new, *options):
        """Exit status and what was printed."""
        with tempfile.TemporaryDirectory() as folder:
            files = [pathlib.Path(folder) / name for name in ("record", "new")]
            files[0].write_text(RECORD)
            files[1].write_text(new)
            run = subprocess.run([sys.executable, SCRIPT, *files, *options], capture_output=True, text=True)
            return run.returncode, run.stdout + run.stderr

    def test_the_same_passes(self):
        self.assertEqual(self.compare(RECORD)[0], 0)

    def test_growth_fails_and_is_named(self):
        status, output = self.compare(RECORD.replace("50000", "50600"))
        self.assertEqual(status, 1)
        self.assertIn("m4 scalar matmul-q4 1x256x256: 50000 -> 50600 instructions (+1.2 %)", output)
        self.assertNotIn("avx2", output)
        self.assertIn("cp ", output)

    def test_growth_within_the_tolerance_passes(self):
        self.assertEqual(self.compare(RECORD.replace("50000", "50400"))[0], 0)
        self.assertEqual(self.compare(RECORD.replace("50000", "52000"), "--tolerance", "5")[0], 0)

    def test_less_and_new_work_are_hints(self):
        status, output = self.compare(RECORD.replace(" 10000", " 9000") + "m4 dsp matmul-q4 1x256x256 7 0.1\n")
        self.assertEqual(status, 0)
        self.assertIn("better  x86_64 avx2", output)
        self.assertIn("new     m4 dsp", output)

    def test_missing_work_fails(self):
        self.assertEqual(self.compare(RECORD.rsplit("m4", 1)[0])[0], 1)

    def test_another_compiler_is_told(self):
        self.assertIn("another compiler", self.compare(RECORD.replace("50000", "60000").replace(": a", ": b"))[1])

    def test_unusable_files_are_refused(self):
        for new in ("", "x86_64 avx2 matmul-q4 1x256x256\n", "a b c d 0 0\n", "a b c d 1 0\na b c d 2 0\n"):
            self.assertEqual(self.compare(new)[0], 2, new)


if __name__ == "__main__":
    unittest.main()
