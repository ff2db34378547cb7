from tests.client.videos.conftest import clip

__all__ = ["clip"]
