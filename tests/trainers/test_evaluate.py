"""The name of the file that holds an evaluation."""

from trainers.evaluate import short_name


def test_a_name_that_a_file_may_have_is_kept():
    assert short_name("evaluation_test_query=5") == "evaluation_test_query=5"


def test_long_names_are_cut_and_stay_different():
    names = [f"evaluation_test_adapt={'ü,' * 200}{end}" for end in "ab"]
    short_names = [short_name(name) for name in names]
    assert all(len(name.encode()) <= 200 for name in short_names)
    assert short_names[0] != short_names[1]
