M_BSZ=16
python train.py --load_model "0" --wandb "" --proj_dir "out/L12-D768-x070" --my_testing "x070" \
 --ctx_len 512 --train_stage 3 --epoch_count 1000 --epoch_begin 3 --data_file "data/minipile" \
 --my_exit_tokens 1498226207 --magic_prime 2926181 --num_nodes 1 --micro_bsz $M_BSZ --n_layer 12 --n_embd 768 \
 --lr_init 6e-4 --lr_final 6e-5 --warmup_steps 10 --beta1 0.9 --beta2 0.99 --adam_eps 1e-18 --my_pile_edecay 0 \
 --data_type "binidx" --vocab_size 65536 --weight_decay 0.001 --head_size_a 64 \
 --accelerator gpu --devices 8 --precision bf16 --strategy deepspeed_stage_2 --grad_cp 1 --enable_progress_bar True \
 --ds_bucket_mb 200
