(use-modules (ssh session) (ssh auth) (ssh channel) (ssh popen))

(let* ((args (cdr (command-line)))
       (session (make-session #:host (car args) #:port (string->number (cadr args)) #:user (caddr args)
                              #:config #f)))
  (connect! session)
  (exit (if (eq? (userauth-agent! session) 'success) 0 1)))
