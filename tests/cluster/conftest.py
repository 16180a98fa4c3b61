from tests.cluster.files import home

__all__ = ["home"]
