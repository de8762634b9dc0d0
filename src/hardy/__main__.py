"""python -m hardy"""

from hardy.cli import main

main()
