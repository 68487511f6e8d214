"""How a person is recognised. The role decides the rest, so the backend only checks name and password."""

from django.contrib.auth.backends import ModelBackend


class RoleBackend(ModelBackend):
    """Django's own check of name and password, without its groups and permissions: `User.has_perm` answers by role."""

    def has_perm(self, *args: object, **kwargs: object) -> bool:
        return False

    def get_all_permissions(self, *args: object, **kwargs: object) -> set[str]:
        return set()
