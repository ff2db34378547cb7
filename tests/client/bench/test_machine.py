import subprocess

from tsnd_client.bench.machine import git_revision, machine, usable_cores


def git(folder, *command):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", *identity, *command], cwd=folder, check=True, capture_output=True)


def test_a_machine_is_described():
    found = machine()

    assert found["cpu"]
    assert found["cores"] == usable_cores() >= 1


def test_code_outside_a_checkout_has_no_revision(tmp_path):
    code = tmp_path / "code.py"
    code.touch()

    assert git_revision(code) is None


def test_code_of_a_checkout_has_its_commit_but_a_stranger_in_it_has_none(tmp_path):
    code, stranger = tmp_path / "code.py", tmp_path / "site-packages.py"
    code.touch()
    git(tmp_path, "init")
    git(tmp_path, "add", "code.py")
    git(tmp_path, "commit", "-m", "Add it")
    stranger.touch()

    assert len(git_revision(code) or "") == 12
    assert git_revision(stranger) is None
