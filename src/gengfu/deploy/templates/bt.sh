$mark
code=0
$shell -c $command 2>&1 || code=$$?
if [ "$$code" -eq 0 ]; then result=ok; else result=failed; fi
echo "GENGFU RESULT $$result code=$$code"
exit "$$code"
