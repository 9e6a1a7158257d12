using System.Numerics.Tensors;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Generation;

/// <summary>What the sampler needs to know of the step it draws tokens for.</summary>
internal readonly record struct SamplingStep
{
    /// <summary>Index of the scale.</summary>
    public required int Scale { get; init; }

    /// <summary>Tokens of the scale's map.</summary>
    public required int Tokens { get; init; }

    /// <summary>Strength t of the guidance at this scale.</summary>
    public float Guidance { get; init; }

    /// <summary>Place of the scale in the schedule, 0 to 1.</summary>
    public float Progress { get; init; }

    /// <summary>Seed of the generation.</summary>
    public ulong Seed { get; init; }

    /// <summary>Index of the first image of the batch in the generation.</summary>
    public int FirstImage { get; init; }

    /// <summary>For each image of the batch, which of its candidates is drawn; null for the first.</summary>
    public int[]? Candidates { get; init; }

    /// <summary>Exponential variates to use instead of random numbers, one row per token; absent when its buffer is null. With them a
    /// result of another implementation can be repeated.</summary>
    public Matrix RecordedNoise { get; init; }

    /// <summary>Row of <see cref="RecordedNoise"/> for the first token of the first image.</summary>
    public int FirstRecorded { get; init; }

    /// <summary>Rows of <see cref="RecordedNoise"/> from one image to the next.</summary>
    public int RecordedPerImage { get; init; }

    /// <summary>Strength of the guidance at a scale: one number grows from 0 to it (VAR models/var.py: cfg * s / (S - 1)), several are taken as they are.</summary>
    public static float GuidanceAt(ScaleValues strength, int scale, int scales) => strength.IsOne ? strength[scale] * ProgressAt(scale, scales) : strength[scale];

    /// <summary>s / (S - 1); 0 where there is one scale only.</summary>
    public static float ProgressAt(int scale, int scales) => scales == 1 ? 0 : (float)scale / (scales - 1);
}

/// <summary>From logits to tokens: guidance, temperature, top-k, top-p and one draw for each position.</summary>
/// <remarks>The draw is an exponential race: of independent E_v ~ Exp(1), the token with the largest p_v / E_v wins with probability
/// p_v. All positions are independent tasks that allocate nothing.</remarks>
internal static class TokenSampler
{
    /// <summary>Draws the tokens of one scale.</summary>
    /// <param name="kernels">The kernels for exponentials; their threads share the positions.</param>
    /// <param name="logits">(B * tokens, V), conditional; overwritten by the guided and filtered logits.</param>
    /// <param name="unconditional">As many unconditional logits; absent when its buffer is null.</param>
    /// <param name="options">How to draw.</param>
    /// <param name="step">Which step it is.</param>
    /// <param name="tokens">B * tokens ids, output; with <see cref="SamplingOptions.MoreSmooth"/> the code of the largest weight.</param>
    /// <exception cref="ArithmeticException">A logit is not a number or infinite.</exception>
    public static void Sample(
        KernelSet kernels, Matrix logits, Matrix unconditional, SamplingOptions options, in SamplingStep step, int[] tokens)
    {
        var body = new Draw(kernels, logits, unconditional, options, step, tokens);
        kernels.Pool.Run(logits.Rows, ref body);
        int bad = tokens.AsSpan(0, logits.Rows).IndexOf(-1);
        if (bad >= 0)
        {
            throw new ArithmeticException(
                $"Scale {step.Scale}, token {bad % step.Tokens}: the transformer gave a logit that is infinite or not a number; its weights are damaged.");
        }

        if (options.MoreSmooth)
        {
            kernels.Softmax(logits, logits);
        }
    }

    /// <summary>(1 + t) conditional - t unconditional (VAR models/var.py, autoregressive_infer_cfg).</summary>
    /// <param name="conditional">Logits of the class; overwritten by the result.</param>
    /// <param name="unconditional">Logits without class; overwritten.</param>
    /// <param name="strength">t.</param>
    public static void Guide(Span<float> conditional, Span<float> unconditional, float strength)
    {
        TensorPrimitives.Multiply(unconditional, strength, unconditional);
        TensorPrimitives.Multiply(conditional, 1 + strength, conditional);
        TensorPrimitives.Subtract(conditional, unconditional, conditional);
    }

    /// <summary>Temperature of the Gumbel softmax: 0.27 (1 - 0.95 r), at least 0.005 (VAR models/var.py).</summary>
    /// <param name="progress">r.</param>
    public static float SmoothTemperature(float progress) => Math.Max(0.27f * (1 - 0.95f * progress), 0.005f);

    /// <summary>The winner of the race between weights w_v with given exponential variates.</summary>
    public static int Race(ReadOnlySpan<float> weights, ReadOnlySpan<float> exponential)
    {
        int winner = 0;
        float best = 0;
        for (int v = 0; v < weights.Length; v++)
        {
            float ratio = weights[v] / exponential[v];
            if (ratio > best)
            {
                best = ratio;
                winner = v;
            }
        }

        return winner;
    }

    /// <summary>The winner of the race between weights w_v with variates from a stream.</summary>
    public static int Race(ReadOnlySpan<float> weights, RandomStream random)
    {
        int winner = 0;
        double best = 0;
        for (int v = 0; v < weights.Length; v++)
        {
            if (weights[v] == 0)
            {
                continue;
            }

            // E = -log u is at least 1 - u: most tokens lose before the logarithm is needed.
            double u = random.Uniform(v);
            if (weights[v] > best * (1 - u))
            {
                double ratio = weights[v] / -Math.Log(u);
                if (ratio > best)
                {
                    best = ratio;
                    winner = v;
                }
            }
        }

        return winner;
    }

    /// <summary>Scores of the Gumbel softmax, ((1 + r) logits - log E) / tau, less the largest of them.</summary>
    /// <param name="logits">(V), overwritten.</param>
    /// <param name="progress">r.</param>
    /// <param name="exponential">Exponential variates E (V), overwritten.</param>
    public static void AddGumbelNoise(Span<float> logits, float progress, Span<float> exponential)
    {
        TensorPrimitives.Multiply(logits, 1 + progress, logits);
        for (int v = 0; v < logits.Length; v++)
        {
            logits[v] -= MathF.Log(exponential[v]);
        }

        // Subtracting before dividing by a small temperature keeps the rounding of the large scores small.
        TensorPrimitives.Subtract(logits, TensorPrimitives.Max<float>(logits), logits);
        TensorPrimitives.Divide(logits, SmoothTemperature(progress), logits);
    }

    private readonly struct Draw(
        KernelSet kernels, Matrix logits, Matrix unconditional, SamplingOptions options, SamplingStep step, int[] tokens) : IParallelBody
    {
        public void Invoke(int task)
        {
            Span<float> row = logits.Row(task);
            int vocabulary = row.Length;
            if (unconditional.Buffer is not null)
            {
                Guide(row, unconditional.Row(task), step.Guidance);
            }

            TensorPrimitives.Divide(row, options.Temperature[step.Scale], row);
            float largest = TensorPrimitives.Max<float>(row);
            if (!float.IsFinite(largest))
            {
                tokens[task] = -1;
                return;
            }

            using Scratch scratch = Scratch.Rent((1L + SamplingFilter.WorkPerToken) * vocabulary);
            Span<float> weights = scratch.Buffer.Span(0, vocabulary);
            Span<float> work = scratch.Buffer.Span(vocabulary, SamplingFilter.WorkPerToken * vocabulary);
            float smallest = options.TopK > 0 && options.TopK < vocabulary
                ? SamplingFilter.KeepLargest(row, options.TopK, work)
                : TensorPrimitives.Min<float>(row);
            TensorPrimitives.Subtract(row, largest, weights);
            kernels.Exp(weights, weights);
            if (options.TopP is > 0 and < 1)
            {
                SamplingFilter.KeepProbability(row, weights, options.TopP, smallest, work);
            }

            tokens[task] = options.MoreSmooth ? Soften(row, task, weights) : Pick(weights, task);
        }

        private int Pick(ReadOnlySpan<float> weights, int task) => step.RecordedNoise.Buffer is not null
            ? Race(weights, Recorded(task))
            : Race(weights, Random(task));

        private int Soften(Span<float> row, int task, Span<float> exponential)
        {
            if (step.RecordedNoise.Buffer is not null)
            {
                Recorded(task).CopyTo(exponential);
            }
            else
            {
                RandomStream random = Random(task);
                for (int v = 0; v < exponential.Length; v++)
                {
                    exponential[v] = (float)-Math.Log(random.Uniform(v));
                }
            }

            AddGumbelNoise(row, step.Progress, exponential);
            return TensorPrimitives.IndexOfMax<float>(row);
        }

        private ReadOnlySpan<float> Recorded(int task)
        {
            (int image, int token) = Math.DivRem(task, step.Tokens);
            return step.RecordedNoise.Row(step.FirstRecorded + image * step.RecordedPerImage + token);
        }

        private RandomStream Random(int task)
        {
            (int image, int token) = Math.DivRem(task, step.Tokens);
            return new RandomStream(step.Seed, step.FirstImage + image, step.Scale, token, step.Candidates?[image] ?? 0);
        }
    }
}
