"""Other libraries on the bilevel problems of `benchmarks.accuracy.bilevel`."""
