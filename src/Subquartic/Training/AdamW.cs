using System.Numerics;
using System.Runtime.InteropServices;
using Subquartic.Numerics.Tensors;
using Subquartic.Numerics.Threading;

namespace Subquartic.Training;

/// <summary>Settings of <see cref="AdamW"/>; the defaults are those of VAR's trainer (VAR utils/arg_util.py, train.py).</summary>
public sealed record AdamWOptions
{
    /// <summary>Decay of the mean of the gradients.</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>Decay of the mean of their squares.</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>Added to the root of the squares.</summary>
    public double Epsilon { get; init; } = 1e-8;

    /// <summary>Share of a weight that a unit of learning rate takes away.</summary>
    public double WeightDecay { get; init; } = 0.05;

    /// <summary>Largest norm of all gradients together; 0 for no limit.</summary>
    public double ClipNorm { get; init; } = 2;
}

/// <summary>Adam with decoupled weight decay (Loshchilov and Hutter, ICLR 2019) and clipping by the global norm; hidden matrices are left to
/// <see cref="Muon"/> where there is one.</summary>
/// <remarks>The norm is summed in double, parameter by parameter, so that the bits do not depend on threads.</remarks>
public sealed class AdamW : IDisposable
{
    private readonly FloatBuffer[] _means;
    private readonly FloatBuffer[] _squares;
    private readonly WorkerPool _pool;
    private readonly Muon? _muon;

    /// <summary>Creates the optimiser.</summary>
    /// <param name="parameters">What to train.</param>
    /// <param name="options">Settings.</param>
    /// <param name="pool">Threads that share the work.</param>
    /// <param name="muon">Changes the parameters it takes, with <see cref="Mean"/> as its momentum; null for none. Disposed with the optimiser.</param>
    public AdamW(IReadOnlyList<Parameter> parameters, AdamWOptions options, WorkerPool pool, Muon? muon = null)
    {
        ArgumentNullException.ThrowIfNull(parameters);
        ArgumentNullException.ThrowIfNull(pool);
        Parameters = parameters;
        Options = options;
        _pool = pool;
        _muon = muon;
        _means = [.. parameters.Select(p => new FloatBuffer(p.Value.Length))];
        _squares = [.. parameters.Select(p => new FloatBuffer(p.Value.Length))];
    }

    /// <summary>What is trained.</summary>
    public IReadOnlyList<Parameter> Parameters { get; }

    /// <summary>Settings.</summary>
    public AdamWOptions Options { get; }

    /// <summary>Steps taken; part of the state, as the two means are.</summary>
    public long Steps { get; set; }

    /// <summary>Mean of the gradients of a parameter: state to save and restore.</summary>
    /// <param name="index">Index of the parameter.</param>
    /// <returns>The buffer itself.</returns>
    public FloatBuffer Mean(int index) => _means[index];

    /// <summary>Mean of the squared gradients of a parameter: state to save and restore; zeros for a hidden matrix of <see cref="Muon"/>.</summary>
    /// <param name="index">Index of the parameter.</param>
    /// <returns>The buffer itself.</returns>
    public FloatBuffer Square(int index) => _squares[index];

    /// <summary>Changes all trainable parameters by their gradients and clears these.</summary>
    /// <param name="learningRate">Step size, at least 0.</param>
    /// <returns>Norm of all gradients before clipping.</returns>
    public double Step(double learningRate)
    {
        var norm = new NormBody(Parameters, new double[Parameters.Count]);
        _pool.Run(Parameters.Count, ref norm);
        double length = Math.Sqrt(norm.Sums.Sum());
        double clip = Options.ClipNorm > 0 && length > Options.ClipNorm ? Options.ClipNorm / length : 1;
        Steps++;

        // A step whose gradient is not finite would destroy the weights; it is left out, and the caller sees the norm.
        if (double.IsFinite(length))
        {
            double correction = Math.Sqrt(1 - Math.Pow(Options.Beta2, Steps));
            var update = new UpdateBody(this, (float)clip, (float)(learningRate / (1 - Math.Pow(Options.Beta1, Steps))), (float)correction, learningRate);
            _pool.Run(Parameters.Count, ref update);
            for (int i = 0; _muon is not null && i < Parameters.Count; i++)
            {
                if (Muon.Takes(Parameters[i]))
                {
                    _muon.Update(Parameters[i], _means[i], (float)clip, Keep(Parameters[i], learningRate), learningRate);
                }
            }
        }

        foreach (Parameter parameter in Parameters)
        {
            parameter.Gradient.Span().Clear();
            parameter.Changed();
        }

        return length;
    }

    /// <summary>Frees the state.</summary>
    public void Dispose()
    {
        Array.ForEach(_means, buffer => buffer.Dispose());
        Array.ForEach(_squares, buffer => buffer.Dispose());
        _muon?.Dispose();
    }

    private float Keep(Parameter parameter, double learningRate) => parameter.Decays ? (float)(1 - learningRate * Options.WeightDecay) : 1;

    private void Update(int index, float clip, float rate, float correction, double learningRate)
    {
        Parameter parameter = Parameters[index];
        if (!parameter.Trainable || (_muon is not null && Muon.Takes(parameter)))
        {
            return;
        }

        float beta1 = (float)Options.Beta1;
        float beta2 = (float)Options.Beta2;
        float epsilon = (float)Options.Epsilon;
        float keep = Keep(parameter, learningRate);
        Span<float> value = parameter.Value.Span();
        Span<float> gradient = parameter.Gradient.Span();
        Span<float> mean = _means[index].Span();
        Span<float> square = _squares[index].Span();
        int vectors = value.Length / Vector<float>.Count;
        Span<Vector<float>> wideValue = MemoryMarshal.Cast<float, Vector<float>>(value)[..vectors];
        Span<Vector<float>> wideGradient = MemoryMarshal.Cast<float, Vector<float>>(gradient)[..vectors];
        Span<Vector<float>> wideMean = MemoryMarshal.Cast<float, Vector<float>>(mean)[..vectors];
        Span<Vector<float>> wideSquare = MemoryMarshal.Cast<float, Vector<float>>(square)[..vectors];
        for (int i = 0; i < vectors; i++)
        {
            Vector<float> g = wideGradient[i] * clip;
            Vector<float> m = wideMean[i] * beta1 + g * (1 - beta1);
            Vector<float> v = wideSquare[i] * beta2 + g * g * (1 - beta2);
            wideMean[i] = m;
            wideSquare[i] = v;
            wideValue[i] = wideValue[i] * keep - m * rate / (Vector.SquareRoot(v) / new Vector<float>(correction) + new Vector<float>(epsilon));
        }

        for (int i = vectors * Vector<float>.Count; i < value.Length; i++)
        {
            float g = gradient[i] * clip;
            mean[i] = mean[i] * beta1 + g * (1 - beta1);
            square[i] = square[i] * beta2 + g * g * (1 - beta2);
            value[i] = value[i] * keep - mean[i] * rate / (MathF.Sqrt(square[i]) / correction + epsilon);
        }
    }

    private readonly struct NormBody(IReadOnlyList<Parameter> parameters, double[] sums) : IParallelBody
    {
        public double[] Sums => sums;

        public void Invoke(int task)
        {
            sums[task] = parameters[task].Trainable ? SumOfSquares(parameters[task].Gradient.Span()) : 0;
        }

        private static double SumOfSquares(Span<float> values)
        {
            int vectors = values.Length / Vector<float>.Count;
            Vector<double> low = Vector<double>.Zero;
            Vector<double> high = Vector<double>.Zero;
            foreach (Vector<float> some in MemoryMarshal.Cast<float, Vector<float>>(values)[..vectors])
            {
                Vector.Widen(some, out Vector<double> first, out Vector<double> second);
                low += first * first;
                high += second * second;
            }

            double sum = Vector.Sum(low + high);
            foreach (float value in values[(vectors * Vector<float>.Count)..])
            {
                sum += (double)value * value;
            }

            return sum;
        }
    }

    private readonly struct UpdateBody(AdamW owner, float clip, float rate, float correction, double learningRate) : IParallelBody
    {
        public void Invoke(int task) => owner.Update(task, clip, rate, correction, learningRate);
    }
}
