using Subquartic.Attention;
using Subquartic.Attention.HigherOrder;
using Subquartic.Criteria;
using Subquartic.Numerics.Kernels;
using Subquartic.Numerics.Tensors;

namespace Subquartic.Reports;

/// <summary>A task that third-order attention solves by construction.</summary>
/// <param name="Task">Its name.</param>
/// <param name="Tokens">Tokens of an instance.</param>
/// <param name="Instances">Instances tried.</param>
/// <param name="LargestScore">beta.</param>
/// <param name="Exact">Share of right answers of <see cref="ExactTensorAttention"/>.</param>
/// <param name="Ordinary">Share of right answers of one trained layer of ordinary attention, one head.</param>
/// <param name="OrdinaryWidth">Its width.</param>
/// <param name="Guess">Share of right answers of the most frequent answer.</param>
/// <param name="Refused">Instances that <see cref="LowRankTensorAttention"/> says it computed exactly.</param>
/// <param name="Reason">Its words.</param>
public sealed record TensorTask(
    string Task, int Tokens, int Instances, double LargestScore, double Exact, double Ordinary, int OrdinaryWidth, double Guess, int Refused, string Reason);

/// <summary>Match-3 with all scores divided: what becomes servable is no longer right.</summary>
/// <param name="Strength">Factor on beta.</param>
/// <param name="LargestScore">What that makes of it.</param>
/// <param name="Exact">Share of right answers, exactly computed.</param>
/// <param name="Fast">Share of right answers of <see cref="LowRankTensorAttention"/>.</param>
/// <param name="Approximated">Instances that it approximated.</param>
public sealed record TensorTradeOff(double Strength, double LargestScore, double Exact, double Fast, int Approximated);

/// <content>The tasks.</content>
public sealed partial record TensorReport
{
    private const int Instances = 20, MatchTokens = 24, Modulus = 401, FunctionSize = 12;
    private const int MatchWidth = 5, CompositionWidth = 4;

    private static TensorTask[] MeasureTasks(KernelSet kernels, CancellationToken cancellation)
    {
        Match3Family[] matches = [.. Enumerable.Range(0, Instances).Select(seed => new Match3Family(MatchTokens, Modulus, seed))];
        CompositionFamily[] compositions = [.. Enumerable.Range(0, Instances).Select(seed => new CompositionFamily(FunctionSize, seed))];
        (double match, double matchGuess) = OrdinaryBaseline.Train(
            kernels, SampleMatch, MatchTokens, MatchTokens, Modulus, 2, MatchWidth, cancellation);
        (double composition, double compositionGuess) = OrdinaryBaseline.Train(
            kernels, SampleComposition, 3 * FunctionSize, FunctionSize, FunctionSize + (2 * FunctionSize * FunctionSize), FunctionSize + 1, CompositionWidth, cancellation);
        return
        [
            Solve(kernels, "Match-3", MatchTokens, matches[0].Beta, [.. matches.Select(m => (m.Problem(), (Func<double[,], double>)m.Accuracy))], match, MatchWidth, matchGuess),
            Solve(
                kernels, "composition", 2 * FunctionSize, 2 * compositions[0].Beta,
                [.. compositions.Select(c => (c.Problem(), (Func<double[,], double>)c.Accuracy))], composition, CompositionWidth, compositionGuess),
        ];
    }

    private static TensorTradeOff[] MeasureTradeOff(KernelSet kernels)
    {
        Match3Family[] matches = [.. Enumerable.Range(0, Instances).Select(seed => new Match3Family(MatchTokens, Modulus, seed))];
        return [.. Enumerable.Range(0, 9).Select(i => Math.Pow(10, -i * 0.75)).Select(strength =>
        {
            double exact = 0, fast = 0;
            int approximated = 0;
            foreach (Match3Family instance in matches)
            {
                using var sample = new TensorSample(instance.Problem(strength));
                Matrix output = sample.New(MatchTokens, 1);
                new ExactTensorAttention(kernels).Attend(sample.Input, output);
                exact += instance.Accuracy(ReferenceTensorAttention.Widen(output));
                using var lowRank = new LowRankTensorAttention(kernels, 1e-2);
                approximated += lowRank.Attend(sample.Input, output).Path == AttentionPath.Exact ? 0 : 1;
                fast += instance.Accuracy(ReferenceTensorAttention.Widen(output));
            }

            return new TensorTradeOff(strength, strength * matches[0].Beta, exact / Instances, fast / Instances, approximated);
        })];
    }

    private static TensorTask Solve(
        KernelSet kernels, string task, int tokens, double largest, (TensorProblem Problem, Func<double[,], double> Accuracy)[] instances,
        double ordinary, int width, double guess)
    {
        double exact = 0;
        (int refused, string reason) = (0, "");
        foreach ((TensorProblem problem, Func<double[,], double> accuracy) in instances)
        {
            using var sample = new TensorSample(problem);
            Matrix output = sample.New(sample.Input.Queries.Rows, 1);
            new ExactTensorAttention(kernels).Attend(sample.Input, output);
            exact += accuracy(ReferenceTensorAttention.Widen(output));
            using var lowRank = new LowRankTensorAttention(kernels, 1e-2);
            Certificate certificate = lowRank.Attend(sample.Input, output);
            (refused, reason) = certificate.Path == AttentionPath.Exact ? (refused + 1, certificate.Reason) : (refused, reason);
        }

        return new TensorTask(task, tokens, instances.Length, largest, exact / instances.Length, ordinary, width, guess, refused, reason);
    }

    private static void SampleMatch(Random random, Span<int> symbols, Span<int> answers)
    {
        var instance = new Match3Family(symbols.Length, Modulus, random.Next());
        bool[] right = instance.Answers();
        for (int i = 0; i < symbols.Length; i++)
        {
            (symbols[i], answers[i]) = (instance.Tokens[i], right[i] ? 1 : 0);
        }
    }

    /// <summary>The questions x, then the tokens (i, f(i)) and (j, g(j)), which have the answer "none".</summary>
    private static void SampleComposition(Random random, Span<int> symbols, Span<int> answers)
    {
        var instance = new CompositionFamily(FunctionSize, random.Next());
        for (int i = 0; i < FunctionSize; i++)
        {
            (symbols[i], answers[i]) = (i, instance.Outer[instance.Inner[i]]);
            symbols[FunctionSize + i] = FunctionSize + (i * FunctionSize) + instance.Inner[i];
            symbols[(2 * FunctionSize) + i] = FunctionSize + (FunctionSize * FunctionSize) + (i * FunctionSize) + instance.Outer[i];
        }

        answers[FunctionSize..].Fill(FunctionSize);
    }
}
