"""python -m hardy, which torchrun needs: torchrun --nproc-per-node 2 -m hardy train ..."""

from hardy.cli import main

if __name__ == "__main__":
    main()
