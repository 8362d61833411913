"""python -m skmrm.service --bundle scorer --database users.sqlite."""

from skmrm.service.command import main

if __name__ == "__main__":
    main()
