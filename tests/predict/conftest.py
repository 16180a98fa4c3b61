from tests.mil.conftest import mlflow_store, one_thread

__all__ = ["mlflow_store", "one_thread"]
