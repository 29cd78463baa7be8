"""Git's name of a file, as git itself prints it."""

from dgex.files.git_blob import git_blob


def test_blob_is_what_git_calls_a_file(tmp_path):
    (tmp_path / "hello").write_bytes(b"hello\n")  # `echo hello | git hash-object --stdin`
    assert git_blob(tmp_path / "hello") == "ce013625030ba8dba906f756967f9e9ca394464a"
