from hbac_utils.training.callbacks import Board


def test_training_goes_on_when_tensorboard_cannot_be_written(tmp_path, capfd):
    (tmp_path / "file").touch()
    board = Board(tmp_path / "file" / "events")
    board.add(1, {"loss": 1.0, "kl_reliable": None})
    board.add(2, {"loss": 0.9, "kl_reliable": None})
    said = [line for line in capfd.readouterr().err.splitlines() if "no curves" in line]
    assert len(said) == 1
    Board(tmp_path / "events").add(1, {"loss": 1.0, "kl_reliable": None})
    assert len(list((tmp_path / "events").iterdir())) == 1
