using Subquartic.Attention;
using Subquartic.Generation;

namespace Subquartic.Reports;

/// <summary>How the stages of next-scale generation are executed.</summary>
public enum VarExecution
{
    /// <summary>The paper's formal model: stage k attends over all tokens of the first k maps, without a mask, and renews them all.</summary>
    Recompute,

    /// <summary>VAR as it is run: only the new map is computed; keys and values of earlier maps stay as they are.</summary>
    KvCached,
}

/// <summary>A small random network of the paper's three stages (Ke et al., arXiv 2501.04377, section 3) with continuous tokens, so that errors can be followed
/// from end to end: interpolation with positions added (without them all tokens of a map would be alike), attention and feed-forward network stage by stage; the sum of convolved maps; a decoder with a residual
/// block, an attention block, and up-sampling.</summary>
internal sealed class ContinuousVar
{
    private readonly ScaleSchedule _scales;
    private readonly int _width;
    private readonly double[] _positions, _query, _key, _value, _first, _firstBias, _second, _secondBias;
    private readonly double[] _decoderQuery, _decoderKey, _decoderValue, _residual, _output;
    private readonly double[][] _maps;

    /// <summary>Draws a network.</summary>
    /// <param name="scales">Square maps.</param>
    /// <param name="width">d.</param>
    /// <param name="entry">R: size of the entries of queries and keys, about; scores are divided by d, hence within R^2.</param>
    /// <param name="seed">Decides the weights.</param>
    public ContinuousVar(ScaleSchedule scales, int width, double entry, int seed)
    {
        (_scales, _width) = (scales, width);
        var random = new Random(seed);
        _positions = [.. Enumerable.Range(0, scales.Tokens * width).Select(_ => (2 * random.NextDouble()) - 1)];
        _query = Draw(random, width, width, entry);
        _key = Draw(random, width, width, entry);
        _value = Draw(random, width, width, 1);
        _first = Draw(random, width, 2 * width, 1);
        _firstBias = Draw(random, 1, 2 * width, 0.5);
        _second = Draw(random, 2 * width, width, 0.5);
        _secondBias = Draw(random, 1, width, 0.5);
        _decoderQuery = Draw(random, width, width, entry);
        _decoderKey = Draw(random, width, width, entry);
        _decoderValue = Draw(random, width, width, 0.5);
        _maps = [.. Enumerable.Range(0, scales.Count).Select(_ => Transpose(Draw(random, 9 * width, width, 1), width))];
        _residual = Transpose(Draw(random, 9 * width, width, 0.5), width);
        _output = Transpose(Draw(random, 9 * width, 3, 1), 3);
    }

    /// <summary>Runs the network.</summary>
    /// <param name="mode">How.</param>
    /// <param name="attention">The strategy, or null for double precision.</param>
    /// <returns>What each stage puts out.</returns>
    public IReadOnlyList<(string Name, Signal Output, Certificate? Certificate)> Run(VarExecution mode, IAttention? attention)
    {
        var stages = new List<(string, Signal, Certificate?)>();
        using IAttentionSequence? sequence = attention?.CreateSequence();
        Signal[] maps = [];
        Signal keys = new([], _width, 0), values = keys;
        for (int k = 0; k < _scales.Count; k++)
        {
            Signal[] inputs =
            [
                Positions(0), .. maps.Select((map, i) => map.Resize(_scales[i].Height, _scales[i + 1].Height).Add(Positions(i + 1))),
            ];
            Signal fresh = mode == VarExecution.Recompute ? Signal.Concatenate(inputs) : inputs[k];
            Signal newKeys = fresh.Linear(_key, []), newValues = fresh.Linear(_value, []);
            keys = k == 0 || mode == VarExecution.Recompute ? newKeys : Signal.Concatenate([keys, newKeys]);
            values = k == 0 || mode == VarExecution.Recompute ? newValues : Signal.Concatenate([values, newValues]);
            (Signal attended, Certificate? certificate) = Attend(
                fresh.Linear(_query, []), keys, values, mode == VarExecution.KvCached ? sequence : attention);
            Signal output = attended.FeedForward(_first, _firstBias, _second, _secondBias);
            maps = mode == VarExecution.Recompute
                ? [.. Enumerable.Range(0, k + 1).Select(i => output.Slice(_scales.Start(i), _scales[i].Tokens))]
                : [.. maps, output];
            stages.Add(($"scale {k + 1}", output, certificate));
        }

        int side = _scales.Last.Height;
        Signal features = maps.Select((map, k) => map.Resize(_scales[k].Height, side).Convolve(_maps[k], side)).Aggregate((a, b) => a.Add(b));
        stages.Add(("feature map", features, null));
        Signal x = features.Add(features.Silu().Convolve(_residual, side));
        (Signal mixed, Certificate? last) = Attend(x.Linear(_decoderQuery, []), x.Linear(_decoderKey, []), x.Linear(_decoderValue, []), attention);
        x = x.Add(mixed);
        stages.Add(("decoder attention", x, last));
        stages.Add(("image", x.Double(side).Convolve(_output, 2 * side), null));
        return stages;
    }

    private Signal Positions(int scale) => new Signal(_positions, _width, 0).Slice(_scales.Start(scale), _scales[scale].Tokens);

    private (Signal, Certificate?) Attend(Signal queries, Signal keys, Signal values, IAttention? attention) =>
        attention is null ? (queries.Attend(keys, values, 1.0 / _width), null) : queries.Attend(keys, values, 1.0 / _width, attention);

    /// <summary>Uniform numbers, scaled so that the largest absolute column sum is as given.</summary>
    private static double[] Draw(Random random, int rows, int columns, double norm)
    {
        double[] weight = [.. Enumerable.Range(0, rows * columns).Select(_ => (2 * random.NextDouble()) - 1)];
        double largest = Enumerable.Range(0, columns).Max(c => Enumerable.Range(0, rows).Sum(l => Math.Abs(weight[(l * columns) + c])));
        return [.. weight.Select(value => value * norm / largest)];
    }

    private static double[] Transpose(double[] weight, int columns)
    {
        int rows = weight.Length / columns;
        return [.. Enumerable.Range(0, weight.Length).Select(n => weight[(n % rows * columns) + (n / rows)])];
    }
}
