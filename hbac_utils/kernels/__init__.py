"""The notebooks as Kaggle kernels: staged, pushed, waited for, submitted."""
