#!/bin/bash
# State tuning of RWKV-6 0.4B, prepared beforehand.
python make_data.py emoji.jsonl 10 512

load_model="/models/rwkv-0b4.pth"
proj_dir='out/emoji state'
data_file=./emoji

n_layer=24
n_embd=1024
micro_bsz=1
epoch_save=1
epoch_steps=1000
ctx_len=512

python train.py --load_model $load_model \
--proj_dir "$proj_dir" --data_file $data_file \
--data_type binidx --vocab_size 65536 \
--n_layer $n_layer --n_embd $n_embd \
--ctx_len $ctx_len --micro_bsz $micro_bsz \
--epoch_steps $epoch_steps --epoch_count 5 --epoch_begin 0 --epoch_save $epoch_save \
--pre_ffn 0 --head_qk 0 \
--lr_init 1 --lr_final 0.01 --warmup_steps 10 --beta1 0.9 --beta2 0.99 --adam_eps 1e-8 \
--accelerator gpu --devices 1 --precision bf16 --strategy deepspeed_stage_1 --grad_cp 1 \
--my_testing "x060" \
--dataload pad --loss_mask pad --train_type "state" --op fla \
--quant nf4 --lr_schedule wsd --wandb my-project
