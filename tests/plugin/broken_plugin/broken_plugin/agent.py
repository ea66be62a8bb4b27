import library_that_is_not_installed


class BrokenAgent(library_that_is_not_installed.Agent):
    pass
