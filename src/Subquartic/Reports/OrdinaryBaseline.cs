using Subquartic.Attention;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;
using Subquartic.Training;
using Subquartic.Training.Operations;

namespace Subquartic.Reports;

/// <summary>The baseline that tensor attention is compared with: one layer of ordinary softmax attention of one head, trained. Symbols get learned
/// queries, keys and values and a learned vector of their own; their sum with what attention finds goes through a two-layer network.</summary>
internal static class OrdinaryBaseline
{
    private const int Hidden = 32, Batch = 32, Steps = 1000, TestBatches = 32;
    private const double LearningRate = 5e-3;

    /// <summary>Draws a sequence.</summary>
    /// <param name="random">Source of randomness.</param>
    /// <param name="symbols">Symbols of the sequence, output.</param>
    /// <param name="answers">Class of each token, output.</param>
    public delegate void Sampler(Random random, Span<int> symbols, Span<int> answers);

    /// <summary>Trains and tests on fresh sequences.</summary>
    /// <param name="kernels">Kernels.</param>
    /// <param name="sample">Draws sequences.</param>
    /// <param name="length">Tokens of a sequence.</param>
    /// <param name="asked">The first so many tokens count in the test.</param>
    /// <param name="vocabulary">Number of symbols.</param>
    /// <param name="classes">Number of classes.</param>
    /// <param name="width">Width of queries, keys and values.</param>
    /// <param name="cancellation">Stops between steps.</param>
    /// <returns>Share of right answers, and that of the most frequent answer.</returns>
    public static (double Accuracy, double Majority) Train(
        KernelSet kernels, Sampler sample, int length, int asked, int vocabulary, int classes, int width, CancellationToken cancellation)
    {
        using var parameters = new ParameterSet(1);
        Parameter table = parameters.Normal("qkv", 1, decays: false, vocabulary, 3 * width);
        Parameter own = parameters.Normal("own", 1, decays: false, vocabulary, width);
        Parameter expand = parameters.Normal("expand", 1 / Math.Sqrt(width), decays: false, Hidden, width);
        Parameter expandBias = parameters.Constant("expand.bias", 0, decays: false, Hidden);
        Parameter contract = parameters.Normal("contract", 1 / Math.Sqrt(Hidden), decays: false, classes, Hidden);
        Parameter contractBias = parameters.Constant("contract.bias", 0, decays: false, classes);
        using var optimizer = new AdamW(parameters.All, new AdamWOptions { WeightDecay = 0 }, kernels.Pool);
        using var tape = new Tape(kernels);
        var random = new Random(2);
        var symbols = new int[Batch * length];
        var answers = new int[Batch * length];
        var losses = new float[Batch * length];
        var hits = new bool[Batch * length];
        var counts = new long[classes];
        long right = 0;
        for (int step = 0; step < Steps + TestBatches; step++)
        {
            cancellation.ThrowIfCancellationRequested();
            for (int b = 0; b < Batch; b++)
            {
                sample(random, symbols.AsSpan(b * length, length), answers.AsSpan(b * length, length));
            }

            tape.Reset();
            Variable attended = tape.Attention(
                tape.LookUp(table, symbols), Batch, 1, 1 / MathF.Sqrt(width), [new AttentionSegment(0, length, length)]);
            Variable hidden = tape.Gelu(tape.Linear(tape.Add(tape.LookUp(own, symbols), attended), expand, expandBias));
            tape.CrossEntropy(tape.Linear(hidden, contract, contractBias), answers, 0, losses, hits);
            if (step < Steps)
            {
                tape.Backward();
                optimizer.Step(LearningRate * (1 + Math.Cos(Math.PI * step / Steps)) / 2);
                continue;
            }

            for (int i = 0; i < hits.Length; i++)
            {
                if (i % length < asked)
                {
                    right += hits[i] ? 1 : 0;
                    counts[answers[i]]++;
                }
            }
        }

        double total = TestBatches * Batch * asked;
        return (right / total, counts.Max() / total);
    }
}
